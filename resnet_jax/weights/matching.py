"""Matching of the arrays in a file with the parameters and statistics of our network."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict

from resnet_jax.config import schema
from resnet_jax.errors import InputError
from resnet_jax.models import initialization, resnet
from resnet_jax.weights.recognition import Network


@dataclasses.dataclass(frozen=True)
class Expected:
    """An array that a file of a network must contain.

    Attributes:
      path: path of our array in `{'params': ..., 'batch_stats': ...}`.
      shape: shape of the array in the file.
      axes: order of a kernel's axes in the file, such as 'OIHW'; '' for other arrays.
    """

    path: tuple[str, ...]
    shape: tuple[int, ...]
    axes: str


def match(network: Network, arrays: Mapping[str, np.ndarray], *, where: str) -> dict[str, Any]:
    """Returns `{'params': ..., 'batch_stats': ...}` of float32 with the arrays of a file.

    Args:
      network: network that was recognised in the file.
      arrays: arrays from `recognition.clean_names`.
      where: name of the file, for messages.

    Raises:
      InputError: if arrays are missing, unexpected or of another shape; the message lists all of
        them. Also if numbers are not finite, or a variance is negative.
    """
    expected = expected_arrays(network)
    shapes = {name: array.shape for name, array in arrays.items() if name != network.layout.ignored}
    differences = [
        f'  missing: {name}, of shape {expected[name].shape}'
        for name in sorted(expected.keys() - shapes.keys())
    ]
    differences += [
        f'  unexpected: {name}, of shape {shapes[name]}'
        for name in sorted(shapes.keys() - expected.keys())
    ]
    differences += [
        f'  {name}: expected the shape {expected[name].shape}, found {shapes[name]}'
        for name in sorted(expected.keys() & shapes.keys())
        if expected[name].shape != shapes[name]
    ]
    if differences:
        raise InputError(
            f'--weights={where}: the most similar network is {describe(network)}. Expected exactly '
            'its arrays, found the following differences; choose a complete file of a supported '
            'network (docs/weights.md):\n' + '\n'.join(differences)
        )
    variables = {
        target.path: _convert(arrays[name], target, f'{where}: {name}')
        for name, target in expected.items()
    }
    return traverse_util.unflatten_dict(variables)


def describe(network: Network) -> str:
    """Returns the description of a network for messages."""
    return (
        f'ResNet-{network.depth} v2 ({network.variant}, {network.stem} stem, width '
        f'{network.width}, {network.num_classes} classes)'
    )


def make_config(network: Network) -> ConfigDict:
    """Returns the default config with the model fields of a network."""
    config = schema.get_config()
    config.update_from_flattened_dict(network.model_fields())
    return config


@functools.lru_cache(maxsize=8)
def expected_arrays(network: Network) -> dict[str, Expected]:
    """Returns the arrays that a file of a network must contain, by their names in the file."""
    model = resnet.create_model(make_config(network), network.num_classes)
    image_size = 32  # no array's shape depends on it
    own_arrays = traverse_util.flatten_dict(initialization.abstract_variables(model, image_size))
    layout = network.layout
    modules = layout.name_modules({'/'.join(path[1:-1]) for path in own_arrays})
    expected = {}
    for path, array in own_arrays.items():
        module, leaf = '/'.join(path[1:-1]), path[-1]
        leaves = layout.leaves.norm if 'norm' in module.split('/')[-1] else layout.leaves.linear
        axes = ''
        if leaf == 'kernel':
            axes = layout.leaves.head if module == 'head' else layout.leaves.kernel
        expected[modules[module] + leaves[leaf]] = Expected(
            path, _shape_in_file(array.shape, axes), axes
        )
    return expected


def _shape_in_file(shape: tuple[int, ...], axes: str) -> tuple[int, ...]:
    if not axes:
        return shape
    sizes = dict(zip('HWIO' if len(shape) == 4 else 'IO', shape, strict=True)) | {'1': 1}
    return tuple(sizes[axis] for axis in axes)


def _convert(array: np.ndarray, target: Expected, where: str) -> np.ndarray:
    """Returns an array of a file as float32 with our order of axes."""
    if target.axes:
        axes = target.axes.replace('1', '')
        array = array.reshape(target.shape[: len(axes)])
        array = array.transpose([axes.index(axis) for axis in 'HWIO' if axis in axes])
    with np.errstate(over='ignore'):
        array = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(array).all():
        raise InputError(
            f'--weights={where}: expected finite float32 numbers, found nan, inf or a larger '
            'number; choose an undamaged file'
        )
    if target.path[-1] == 'var' and array.min() < 0:
        raise InputError(
            f'--weights={where}: expected variances of at least 0, found {array.min()}; choose an '
            'undamaged file'
        )
    return array
