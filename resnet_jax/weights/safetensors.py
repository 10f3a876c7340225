"""`.safetensors` files: those of timm, and those that this project writes."""

import json
import types
from collections.abc import Mapping

import numpy as np

from resnet_jax.errors import InputError

FLOATS = {'F64': '<f8', 'F32': '<f4', 'F16': '<f2', 'BF16': '<u2'}
"""NumPy's names of the floating-point types, by the names in the format.

NumPy has no bfloat16. It is the upper half of a float32, and is read as 16 bits.
"""


def read_safetensors(content: bytes, *, where: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Returns the floating-point arrays of a file by name, and the metadata of the file.

    Arrays of integers, such as PyTorch's `num_batches_tracked`, are left out.

    Args:
      content: content of the file.
      where: name of the file, for messages.

    Raises:
      InputError: if the content is damaged or has another format, or if the package safetensors is
        not installed.
    """
    safetensors = _import_safetensors()
    try:
        tensors = safetensors.deserialize(content)
        header_size = int.from_bytes(content[:8], 'little')
        metadata = json.loads(content[8 : 8 + header_size]).get('__metadata__') or {}
        arrays = {name: _as_array(tensor) for name, tensor in tensors if tensor['dtype'] in FLOATS}
    except (safetensors.SafetensorError, ValueError, RecursionError) as error:
        raise InputError(
            f'--weights={where}: expected a complete .safetensors file, found: {error}. Check the '
            'file and --format'
        ) from None
    return arrays, metadata


def _as_array(tensor: Mapping) -> np.ndarray:
    array = np.frombuffer(tensor['data'], FLOATS[tensor['dtype']]).reshape(tensor['shape'])
    if tensor['dtype'] == 'BF16':
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array


def to_safetensors(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """Returns the content of a file with these arrays and this metadata.

    Raises:
      InputError: if the package safetensors is not installed.
    """
    safetensors = _import_safetensors()
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    return safetensors.numpy.save(contiguous, metadata=dict(metadata))


def _import_safetensors() -> types.ModuleType:
    try:
        import safetensors.numpy
    except ImportError:
        raise InputError(
            'a .safetensors file: expected the Python package safetensors, found none; run '
            "pip install 'resnet_jax[weights]', or pip install safetensors"
        ) from None
    return safetensors
