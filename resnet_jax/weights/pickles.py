"""Reading of weight files as bytes, and refusal of pickles, which could run code."""

import io
import shlex
import zipfile
from pathlib import Path

from resnet_jax.errors import InputError

PICKLE_SUFFIXES = ('.pth', '.pt', '.bin', '.ckpt', '.pkl', '.pickle', '.tar')

PICKLE_RECIPE = (
    'python -c "import sys, torch; from safetensors.torch import save_file; '
    "w = torch.load(sys.argv[1], map_location='cpu', weights_only=True); "
    "w = w.get('state_dict', w); "
    'save_file(dict(zip(w, (w[k].contiguous() for k in w))), sys.argv[2])"'
)


def read_file(path: Path) -> bytes:
    """Returns the content of a weight file.

    Raises:
      InputError: if there is no such file, if it cannot be read, or if it is a pickle, which can
        run code.
    """
    if path.suffix in PICKLE_SUFFIXES:
        raise _pickled(path)
    if not path.is_file():
        raise InputError(f'--weights={path}: expected a weight file, found none')
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f'--weights={path}: expected a readable file, found: {error.strerror}'
        ) from None
    if _is_pickle(path, content):
        raise _pickled(path)
    return content


def _is_pickle(path: Path, content: bytes) -> bool:
    """Returns whether a file is a pickle, or PyTorch's zip archive with a pickle in it."""
    if content[:1] == b'\x80' and content[1:2] in (b'\x02', b'\x03', b'\x04', b'\x05'):
        return path.suffix != '.safetensors'  # starts with a length, which may be any bytes
    if not content.startswith(b'PK'):
        return False
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return any(name.endswith('data.pkl') for name in archive.namelist())
    except Exception:  # a damaged zip, which the reader of the format reports
        return False


def _pickled(path: Path) -> InputError:
    files = shlex.join([str(path), str(path.with_suffix('.safetensors'))])
    return InputError(
        f'--weights={path}: expected a file that contains only arrays, found a pickle; unpickling '
        'runs code. If you trust the file, convert it to safetensors where PyTorch is installed:\n'
        f'  {PICKLE_RECIPE} {files}'
    )
