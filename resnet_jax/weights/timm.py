"""timm's `.safetensors` files."""

import numpy as np

from resnet_jax.errors import InputError
from resnet_jax.weights import own_format, safetensors


def read_timm(content: bytes, *, where: str) -> dict[str, np.ndarray]:
    arrays, metadata = safetensors.read_safetensors(content, where=where)
    if metadata.get('format') == own_format.FORMAT:
        raise InputError(
            f'--weights={where}: this project wrote it; use --format={own_format.FORMAT}'
        )
    return arrays
