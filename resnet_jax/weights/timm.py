"""timm's `.safetensors` files and the names of the arrays in them."""

import numpy as np

from resnet_jax.errors import InputError
from resnet_jax.weights import own_format, safetensors
from resnet_jax.weights.layouts import Leaves, Named


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


# timm's models/resnetv2.py; the head is a 1x1 convolution.
TIMM = Named(
    leaves=Leaves(
        norm={'scale': '.weight', 'bias': '.bias', 'mean': '.running_mean', 'var': '.running_var'},
        linear={'kernel': '.weight', 'bias': '.bias'},
        head='OI11',
    ),
    modules={
        'stem/conv': 'stem.conv',
        'stem/conv1': 'stem.conv1',
        'stem/norm1': 'stem.norm1',
        'stem/conv2': 'stem.conv2',
        'stem/norm2': 'stem.norm2',
        'stem/conv3': 'stem.conv3',
        'final_norm': 'norm',
        'head': 'head.fc',
    },
    block_prefix='stages.{stage}.blocks.{block}.',
    first_block=(0, 0),
    parts={
        'norm1': 'norm1',
        'norm2': 'norm2',
        'norm3': 'norm3',
        'conv1': 'conv1',
        'conv2': 'conv2',
        'conv3': 'conv3',
        'projection': 'downsample.conv',
    },
)
