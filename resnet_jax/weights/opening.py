"""Opening a file of weights: whole, bounded by its size, and never one that has to be unpickled."""

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
    """Returns the bytes of a file of weights.

    Raises:
      InputError: when there is no such file, or it is a pickle, which could run code.
    """
    if path.suffix in PICKLE_SUFFIXES:
        raise _pickled(path)
    if not path.is_file():
        raise InputError(f'--weights={path}: expected a file of weights, found none')
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f'--weights={path}: cannot be read: {error.strerror}') from None
    if _is_pickle(path, content):
        raise _pickled(path)
    return content


def _is_pickle(path: Path, content: bytes) -> bool:
    """Says whether the file is a pickle, or PyTorch's zip with one in it."""
    if content[:1] == b'\x80' and content[1:2] in (b'\x02', b'\x03', b'\x04', b'\x05'):
        return path.suffix != '.safetensors'  # which begins with a length, any bytes at all
    if not content.startswith(b'PK'):
        return False
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return any(name.endswith('data.pkl') for name in archive.namelist())
    except Exception:  # a zip that is damaged; its reader says so
        return False


def _pickled(path: Path) -> InputError:
    files = shlex.join([str(path), str(path.with_suffix('.safetensors'))])
    return InputError(
        f'--weights={path}: expected a file that holds arrays only, found a pickle, and unpickling '
        f'runs code. If you trust it, turn it into safetensors where PyTorch is installed:\n'
        f'  {PICKLE_RECIPE} {files}'
    )
