"""timm's `.safetensors` files."""

import numpy as np

from resnet_jax.errors import InputError
from resnet_jax.weights import own_format, safetensors


def read_timm(content: bytes, *, where: str) -> dict[str, np.ndarray]:
    """Returns the floating-point arrays of a file by name.

    Args:
      content: content of the file.
      where: name of the file, for messages.

    Raises:
      InputError: as in `read_safetensors`; also if this project wrote the file.
    """
    arrays, metadata = safetensors.read_safetensors(content, where=where)
    if metadata.get('format') == own_format.FORMAT:
        raise InputError(
            f'--weights={where}: expected a file of timm, found one that this project wrote; use '
            f'--format={own_format.FORMAT}'
        )
    return arrays
