"""This project's own weight files: safetensors with the arrays, config and class names of a run.

The arrays are `params/...` and `batch_stats/...`, all float32. Their names and axes are those of
the checkpoints (kernels are `[H, W, I, O]`). The metadata contain `format` (`resnet_jax`), `config`
(JSON), `class_names` (JSON) and `step`.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict

from resnet_jax.config import serialization
from resnet_jax.config.depths import IMAGENET_BLOCKS, cifar_blocks
from resnet_jax.errors import InputError
from resnet_jax.models import initialization, resnet
from resnet_jax.weights.safetensors import to_safetensors

FORMAT = 'resnet_jax'


@dataclasses.dataclass(frozen=True)
class Exported:
    """Content of a file that this project wrote.

    Attributes:
      config: config of the run that was exported.
      class_names: names of the classes in index order.
      variables: `{'params': ..., 'batch_stats': ...}` of float32.
    """

    config: ConfigDict
    class_names: tuple[str, ...]
    variables: dict[str, Any]


def encode(
    config: ConfigDict, class_names: Sequence[str], variables: Mapping[str, Any], step: int
) -> bytes:
    """Returns the content of a file; the module's docstring describes the format.

    Args:
      config: config of the run.
      class_names: names of the classes in index order.
      variables: `{'params': ..., 'batch_stats': ...}` of float32.
      step: step of the checkpoint.

    Raises:
      InputError: if the package safetensors is not installed.
    """
    arrays = traverse_util.flatten_dict(variables, sep='/')
    metadata = {
        'format': FORMAT,
        'config': serialization.to_json(config),
        'class_names': json.dumps(list(class_names)),
        'step': str(step),
    }
    return to_safetensors({name: np.asarray(array) for name, array in arrays.items()}, metadata)


def decode(
    arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str], *, where: str
) -> Exported:
    """Reads what `encode` wrote.

    Args:
      arrays: arrays of the file by name.
      metadata: metadata of the file.
      where: name of the file, for messages.

    Raises:
      InputError: if this project did not write the file, if the config is not valid, or if the
        arrays are not those of its network.
    """
    subject = f'--weights={where}'
    if metadata.get('format') != FORMAT:
        raise InputError(
            f'{subject}: expected a file that resnet_jax.export wrote (format {FORMAT!r} in its '
            f'metadata), found {metadata.get("format")!r}; use --format=timm for a file of timm'
        )
    config = serialization.from_json(metadata.get('config', ''), where=f'{subject}, config')
    class_names = _decode_names(metadata.get('class_names', ''), subject)
    _require_plausible(config, arrays, subject)
    model = resnet.create_model(config, len(class_names))
    image_size = 32  # no array's shape depends on it
    expected = traverse_util.flatten_dict(
        initialization.abstract_variables(model, image_size), sep='/'
    )
    differences = [
        f'  {name}: expected {_shape(expected, name)}, found {_shape(arrays, name)}'
        for name in sorted(expected.keys() | arrays.keys())
        if _shape(expected, name) != _shape(arrays, name)
    ]
    if differences:
        raise InputError(
            f'{subject}: expected the arrays of the network in its config, found others; choose an '
            'undamaged file:\n' + '\n'.join(differences)
        )
    return Exported(config, class_names, traverse_util.unflatten_dict(dict(arrays), sep='/'))


def _decode_names(text: str, subject: str) -> tuple[str, ...]:
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        names = None
    is_valid = isinstance(names, list) and all(
        isinstance(name, str) and name.splitlines() == [name] for name in names
    )
    if not is_valid or not names:
        raise InputError(
            f'{subject}: expected a JSON list of class_names in its metadata, found {text[:80]!r}; '
            'choose an undamaged file'
        )
    return tuple(names)


def _require_plausible(config: ConfigDict, arrays: Mapping[str, np.ndarray], subject: str) -> None:
    """Checks, before the network of a config is built, that it is not larger than the file.

    Raises:
      InputError: if it has more blocks than the file has arrays, or if its width or number of
        classes is greater than every axis of the arrays.
    """
    model = config.model
    num_blocks = 0
    if model.depth not in IMAGENET_BLOCKS:
        num_blocks = 3 * cifar_blocks(model.depth)[1]
    largest_axis = max((size for array in arrays.values() for size in array.shape), default=0)
    if num_blocks > len(arrays) or max(model.width, model.num_classes) > largest_axis:
        raise InputError(
            f'{subject}: expected the arrays of the network in its config (depth {model.depth}, '
            f'width {model.width}, {model.num_classes} classes), found {len(arrays)} arrays of up '
            f'to {largest_axis} along an axis; choose an undamaged file'
        )


def _shape(arrays: Mapping[str, Any], name: str) -> str:
    """Returns the type and shape of an array for messages; 'nothing' if it is missing."""
    if name not in arrays:
        return 'nothing'
    return f'{arrays[name].dtype} {tuple(arrays[name].shape)}'
