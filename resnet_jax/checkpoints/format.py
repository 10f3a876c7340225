"""The format of a checkpoint: metadata, named arrays and their checksum.

A checkpoint is a folder `<step>/` that Orbax writes. It holds the items `state` (named arrays, one
copy for any number of devices), `metadata` (JSON: `step`, `epoch`, `train_sums`, `scores`,
`checksum`) and, if the step was evaluated, `metrics` (JSON: the same scores, by which Orbax chooses
which checkpoints to keep).

Orbax stores no checksum of the arrays. `checksum` is the CRC-32 of the metadata and all arrays. It
is verified whenever the arrays of a checkpoint are read.
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
"""The order of the parts of a state in its checksum; within a part, arrays are sorted by path."""

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


def rank(scores: Scores) -> tuple[float, float, int]:
    """Returns a sort key of checkpoints: validation top-5, then top-1, then the later step."""
    return scores['top5'], scores['top1'], int(scores['step'])


def compute_checksum(tree: Any, metadata: Metadata) -> str:
    """Returns eight hexadecimal digits that change with any bit of the arrays or the metadata.

    Args:
      tree: a state, or its arrays by name.
      metadata: metadata that is saved with the state.
    """
    crc = zlib.crc32(json.dumps(dataclasses.asdict(metadata), sort_keys=True).encode())
    arrays = named_arrays(tree)
    for name in sorted(arrays, key=_position_in_checksum):
        array = arrays[name]
        crc = zlib.crc32(f'{name} {array.dtype} {array.shape}'.encode(), crc)
        crc = zlib.crc32(np.ascontiguousarray(array).view(np.uint8).data, crc)
    return f'{crc:08x}'


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
