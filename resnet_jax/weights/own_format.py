"""This project's own safetensors files: `params/...` and `batch_stats/...`, with the run's config.

The names of the arrays are those of the checkpoints, their axes too (kernels `[H, W, I, O]`), all
float32. The metadata hold `format` (`resnet_jax`), `config` (JSON), `class_names` (JSON) and
`step`.
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
    """What a file of ours holds.

    Attributes:
      config: of the run that was exported.
      class_names: in index order.
      variables: `{'params': ..., 'batch_stats': ...}` of float32.
    """

    config: ConfigDict
    class_names: tuple[str, ...]
    variables: dict[str, Any]


def encode(
    config: ConfigDict, class_names: Sequence[str], variables: Mapping[str, Any], step: int
) -> bytes:
    """Returns the content of a file; see the module's description.

    Raises:
      InputError: when the package safetensors is not installed.
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
      arrays: of the file.
      metadata: of the file.
      where: the file's name, for messages.

    Raises:
      InputError: when the config is not valid, or the arrays are not those of its network.
    """
    what = f'--weights={where}'
    if metadata.get('format') != FORMAT:
        raise InputError(
            f'{what}: expected a file that resnet_jax.export wrote (format {FORMAT!r} in its '
            f'metadata), found {metadata.get("format")!r}; is it --format=timm?'
        )
    config = serialization.from_json(metadata.get('config', ''), where=f'{what}, config')
    class_names = _decode_names(metadata.get('class_names', ''), what)
    _require_plausible(config, arrays, what)
    model = resnet.create_model(config, len(class_names))
    image_size = 32  # no array's shape depends on it
    expected = traverse_util.flatten_dict(
        initialization.abstract_variables(model, image_size), sep='/'
    )
    faults = [
        f'  {name}: expected {_shape(expected, name)}, found {_shape(arrays, name)}'
        for name in sorted(expected.keys() | arrays.keys())
        if _shape(expected, name) != _shape(arrays, name)
    ]
    if faults:
        raise InputError(
            f"{what}: expected the arrays of its config's network\n" + '\n'.join(faults)
        )
    return Exported(config, class_names, traverse_util.unflatten_dict(dict(arrays), sep='/'))


def _decode_names(text: str, what: str) -> tuple[str, ...]:
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        names = None
    whole = isinstance(names, list) and all(
        isinstance(name, str) and name.splitlines() == [name] for name in names
    )
    if not whole or not names:
        raise InputError(f'{what}: expected class_names in its metadata, found {text[:80]!r}')
    return tuple(names)


def _require_plausible(config: ConfigDict, arrays: Mapping[str, np.ndarray], what: str) -> None:
    """Checks that the network that is described is no larger than the file, before it is built.

    Raises:
      InputError: when it has more blocks than there are arrays, or more channels or classes than
        any array has along an axis.
    """
    model = config.model
    blocks = 0
    if model.depth not in IMAGENET_BLOCKS:
        blocks = 3 * cifar_blocks(model.depth)[1]
    largest = max((size for array in arrays.values() for size in array.shape), default=0)
    if blocks > len(arrays) or max(model.width, model.num_classes) > largest:
        raise InputError(
            f"{what}: expected the arrays of its config's network (depth {model.depth}, width "
            f'{model.width}, {model.num_classes} classes), found {len(arrays)} arrays of up to '
            f'{largest} along an axis'
        )


def _shape(arrays: Mapping[str, Any], name: str) -> str:
    """Describes an array, or the lack of it."""
    if name not in arrays:
        return 'nothing'
    return f'{arrays[name].dtype} {tuple(arrays[name].shape)}'
