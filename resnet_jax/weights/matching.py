"""From the arrays of a file to the parameters and statistics of a network of ours."""

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
    """An array that a file should hold.

    Attributes:
      path: in our `{'params': ..., 'batch_stats': ...}`.
      shape: of the array in the file.
      axes: of the array in the file, where ours are another order, or ''.
    """

    path: tuple[str, ...]
    shape: tuple[int, ...]
    axes: str


def match(network: Network, arrays: Mapping[str, np.ndarray], *, where: str) -> dict[str, Any]:
    """Returns `{'params': ..., 'batch_stats': ...}` of float32, every array in its place.

    Args:
      network: that the arrays are of.
      arrays: of `recognition.clean_names`.
      where: the file's name, for messages.

    Raises:
      InputError: when arrays are missing, left over or of another shape, all of which it lists; or
        hold what no network computes with.
    """
    expected = expected_arrays(network)
    found = {name: array.shape for name, array in arrays.items() if name != network.layout.ignored}
    faults = [
        f'  missing: {name}, of shape {expected[name].shape}'
        for name in sorted(expected.keys() - found.keys())
    ]
    faults += [
        f'  left over: {name}, of shape {found[name]}'
        for name in sorted(found.keys() - expected.keys())
    ]
    faults += [
        f'  {name}: expected the shape {expected[name].shape}, found {found[name]}'
        for name in sorted(expected.keys() & found.keys())
        if expected[name].shape != found[name]
    ]
    if faults:
        raise InputError(
            f'--weights={where}: it looks most like {describe(network)}; expected the arrays of '
            'that, found others:\n' + '\n'.join(faults)
        )
    variables = {
        to.path: _convert(arrays[name], to, f'{where}: {name}') for name, to in expected.items()
    }
    return traverse_util.unflatten_dict(variables)


def describe(network: Network) -> str:
    """Returns a network's name for messages."""
    return (
        f'ResNet-{network.depth} v2 ({network.variant}, {network.stem} stem, width '
        f'{network.width}, {network.num_classes} classes)'
    )


def make_config(network: Network) -> ConfigDict:
    """Returns the defaults with the model fields of a network."""
    config = schema.get_config()
    config.update_from_flattened_dict(network.model_fields())
    return config


@functools.lru_cache(maxsize=8)
def expected_arrays(network: Network) -> dict[str, Expected]:
    """Returns the arrays that a file of a network holds, by their names there."""
    model = resnet.create_model(make_config(network), network.num_classes)
    image_size = 32  # no array's shape depends on it
    ours = traverse_util.flatten_dict(initialization.abstract_variables(model, image_size))
    layout = network.layout
    modules = layout.name_modules({'/'.join(path[1:-1]) for path in ours})
    expected = {}
    for path, array in ours.items():
        module, leaf = '/'.join(path[1:-1]), path[-1]
        leaves = layout.leaves.norm if 'norm' in module.split('/')[-1] else layout.leaves.other
        axes = ''
        if leaf == 'kernel':
            axes = layout.leaves.head if module == 'head' else layout.leaves.kernel
        expected[modules[module] + leaves[leaf]] = Expected(
            path, _shape_there(array.shape, axes), axes
        )
    return expected


def _shape_there(shape: tuple[int, ...], axes: str) -> tuple[int, ...]:
    if not axes:
        return shape
    sizes = dict(zip('HWIO' if len(shape) == 4 else 'IO', shape, strict=True)) | {'1': 1}
    return tuple(sizes[axis] for axis in axes)


def _convert(array: np.ndarray, to: Expected, where: str) -> np.ndarray:
    if to.axes:
        axes = to.axes.replace('1', '')
        array = array.reshape(to.shape[: len(axes)])
        array = array.transpose([axes.index(axis) for axis in 'HWIO' if axis in axes])
    with np.errstate(over='ignore'):
        array = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(array).all():
        raise InputError(f'--weights={where}: expected finite numbers of float32, found others')
    if to.path[-1] == 'var' and array.min() < 0:
        raise InputError(f'--weights={where}: expected variances, found {array.min()}')
    return array
