"""The format of a checkpoint: metadata, named arrays and their checksums.

A checkpoint is a folder `<step>/` that Orbax writes. It holds the items `state` (named arrays, one
copy for any number of devices), `metadata` (JSON: `step`, `epoch`, `train_sums`, `scores`,
`checksums`, `checksum`) and, if the step was evaluated, `metrics` (JSON: the same scores, by which
Orbax chooses which checkpoints to keep).

Orbax stores no checksum of the arrays. `checksums` holds the CRC-32 of each array by name, which is
verified when the array is read. `checksum` is the CRC-32 of the rest of the metadata, `checksums`
included, and is verified whenever the metadata is read.

In checkpoints of version 0.1.0 there are no `checksums`, and `checksum` is that of the metadata and
all arrays. It can be verified only if all arrays are read.
"""

import dataclasses
import json
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from resnet_jax.errors import InputError

REPLACED = 'replaced-'
"""Prefix of the folder that keeps an old checkpoint while its step is written again."""

_CHECKSUM_ORDER = ('step', 'params', 'batch_stats', 'opt_state', 'ema_params', 'ema_batch_stats')
"""The order of the parts of a state in `compute_joint_checksum`; a part is sorted by path."""

Scores = Mapping[str, float]
"""Validation results of a step, `top5` and `top1` among them."""


@dataclasses.dataclass(frozen=True)
class Metadata:
    """Metadata of a checkpoint, saved with the state.

    Attributes:
      step: number of completed steps.
      epoch: number of completed epochs, with a fraction.
      train_sums: sums of the training metrics since the last row of `metrics.csv`.
      scores: results on the validation split at this step, or None if it was not evaluated.
    """

    step: int
    epoch: float
    train_sums: Mapping[str, tuple[float, float]]
    scores: Scores | None


def compute_checksums(tree: Any) -> dict[str, str]:
    """Returns a checksum for each array by name: eight hexadecimal digits.

    Args:
      tree: a state, or its arrays by name.
    """
    return {name: f'{_add_array(0, name, array):08x}' for name, array in named_arrays(tree).items()}


def compute_metadata_checksum(metadata: Metadata, checksums: Mapping[str, str]) -> str:
    """Returns eight hexadecimal digits that change with the metadata or a checksum of an array."""
    content = dataclasses.asdict(metadata) | {'checksums': dict(checksums)}
    return f'{zlib.crc32(json.dumps(content, sort_keys=True).encode()):08x}'


def compute_joint_checksum(tree: Any, metadata: Metadata) -> str:
    """Returns the only checksum in a checkpoint of version 0.1.0, over metadata and all arrays."""
    crc = zlib.crc32(json.dumps(dataclasses.asdict(metadata), sort_keys=True).encode())
    arrays = named_arrays(tree)
    for name in sorted(arrays, key=_position_in_checksum):
        crc = _add_array(crc, name, arrays[name])
    return f'{crc:08x}'


def _add_array(crc: int, name: str, array: Any) -> int:
    crc = zlib.crc32(f'{name} {array.dtype} {array.shape}'.encode(), crc)
    return zlib.crc32(np.ascontiguousarray(array).view(np.uint8).data, crc)


def _position_in_checksum(name: str) -> tuple[int, list[str]]:
    part, *path = name.split('/')
    known = part in _CHECKSUM_ORDER
    return _CHECKSUM_ORDER.index(part) if known else len(_CHECKSUM_ORDER), [part, *path]


def named_arrays(tree: Any) -> dict[str, Any]:
    """Returns the arrays of a tree by name, such as `params/head/kernel`.

    A state, the description of a state by Orbax, and the result of this function all give the same
    names.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator='/'): leaf
        for path, leaf in leaves
        if hasattr(leaf, 'shape')
    }


def require_same_arrays(expected: Any, stored: Any, *, what: str) -> None:
    """Compares two trees by the names and shapes of their arrays.

    Args:
      expected: tree that the config describes.
      stored: tree that was stored, or a description of it.
      what: name of the place where it is stored, for the message.

    Raises:
      InputError: if the trees differ; the message lists the arrays that differ.
    """
    expected_shapes, stored_shapes = (
        {name: tuple(leaf.shape) for name, leaf in named_arrays(tree).items()}
        for tree in (expected, stored)
    )
    different = [
        f'  {name}: expected {expected_shapes.get(name, "nothing")}, '
        f'found {stored_shapes.get(name, "nothing")}'
        for name in sorted(expected_shapes.keys() | stored_shapes.keys())
        if expected_shapes.get(name) != stored_shapes.get(name)
    ]
    if different:
        raise InputError(
            f'{what}: expected the arrays that the config describes, found others:\n'
            + '\n'.join(different)
        )
