"""Checkpoints on disk: what they hold, which there are, and how one is read and checked.

A checkpoint is Orbax's `<step>/` with the items `state` (one copy of a `TrainState`, whatever the
devices), `metadata` (JSON: `step`, `epoch`, `train_sums`, `scores`, `checksum`) and, where that
step was evaluated, `metrics` (JSON: the scores again, for Orbax to choose what to keep).

Orbax has no checksum over the values of the arrays. Ours is the CRC-32 of all arrays and of the
metadata; it is compared whenever a state is read.
"""

import dataclasses
import json
import math
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tensorstore as ts
from absl import logging
from jax.sharding import Sharding

from resnet_jax import parallel
from resnet_jax.training.state import TrainState
from resnet_jax.types import InputError

REPLACED = 'replaced-'
"""Begins the name of a checkpoint that is being written again."""

Scores = Mapping[str, float]
"""Validation results of a step, `top5` and `top1` among them."""


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What is saved with a state.

    Attributes:
      step: steps done.
      epoch: the same in epochs.
      train_sums: of the training metrics since the last row of `metrics.csv`.
      scores: of the validation split at this step, or None if it was not evaluated.
    """

    step: int
    epoch: float
    train_sums: Mapping[str, tuple[float, float]]
    scores: Scores | None


def rank(scores: Scores) -> tuple[float, float, int]:
    """Orders checkpoints: by validation top-5, then top-1, then the later step."""
    return scores['top5'], scores['top1'], scores['step']


def compute_checksum(state: TrainState, metadata: Metadata) -> str:
    """Returns eight hexadecimal digits that change with any bit of the arrays or the metadata."""
    crc = zlib.crc32(json.dumps(dataclasses.asdict(metadata), sort_keys=True).encode())
    for name, array in _named_leaves(state).items():
        crc = zlib.crc32(f'{name} {array.dtype} {array.shape}'.encode(), crc)
        crc = zlib.crc32(np.ascontiguousarray(array), crc)
    return f'{crc:08x}'


def list_steps(folder: Path) -> list[int]:
    """Returns the steps for which there are checkpoints, whole or not, rising."""
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())


def read_metadata(folder: Path, step: int) -> Metadata:
    """Returns what was saved with a state.

    Raises:
      InputError: when it is not there or not whole.
    """
    return _read_metadata(folder / str(step))[0]


def _read_metadata(path: Path) -> tuple[Metadata, str]:
    try:
        content = json.loads((path / 'metadata' / 'metadata').read_text())
        checksum = content.pop('checksum')
        metadata = Metadata(**content)
        numbers = [metadata.epoch]
        same_scores = True
        if metadata.scores is not None:
            scores = {**metadata.scores, 'step': metadata.step}
            numbers += rank(scores)
            stored = json.loads((path / 'metrics' / 'metrics').read_text())
            # As text, because a loss may be nan, which equals nothing.
            same_scores = json.dumps(stored, sort_keys=True) == json.dumps(scores, sort_keys=True)
        if not all(map(math.isfinite, numbers)):
            raise ValueError('a number that is not finite')
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f'{path}: expected a whole checkpoint, found {error!r}') from None
    if metadata.step != int(path.name):
        raise InputError(f'{path}: expected step {path.name}, found step {metadata.step}')
    if not same_scores:
        raise InputError(f'{path}: expected equal scores in metadata and metrics, found others')
    return metadata, checksum


def restore(
    folder: Path, step: int, abstract_state: TrainState, sharding: Sharding
) -> tuple[TrainState, Metadata]:
    """Reads a checkpoint onto devices and compares its checksum.

    Args:
      folder: the run's `checkpoints/`.
      step: one of `list_steps(folder)`.
      abstract_state: shapes and dtypes, which must be the checkpoint's.
      sharding: where every array goes, on any number of devices.

    Raises:
      InputError: when it is damaged, or of another model; says how.
    """
    path = folder / str(step)
    metadata, checksum = _read_metadata(path)
    arrays = _read_arrays(path, abstract_state)
    names = _named_leaves(abstract_state)
    state = jax.tree.unflatten(jax.tree.structure(abstract_state), map(arrays.get, names))
    if compute_checksum(state, metadata) != checksum:
        raise InputError(f'{path}: expected the checksum {checksum}, found other bytes')

    def place(array: np.ndarray) -> jax.Array:
        return jax.make_array_from_callback(array.shape, sharding, array.__getitem__)

    return jax.tree.map(place, state), metadata


def _read_arrays(path: Path, abstract_state: TrainState) -> dict[str, np.ndarray]:
    """Reads the arrays of a checkpoint by name, straight from the store that Orbax wrote.

    Orbax reads all at once with asyncio; when one fails, it leaves the others behind, and they
    print tracebacks for as long as the process lives.
    """
    root = {'driver': 'file', 'path': f'{path.absolute() / "state"}/'}
    try:
        keys = ts.KvStore.open({'driver': 'ocdbt', 'base': root}).result().list().result()
        stores = {}
        for key in sorted(key.decode() for key in keys if key.endswith(b'/.zarray')):
            place = {'driver': 'ocdbt', 'base': root, 'path': key.removesuffix('.zarray')}
            spec = {'driver': 'zarr', 'kvstore': place, 'fill_missing_data_reads': False}
            stores[key.removesuffix('/.zarray').replace('.', '/')] = ts.open(spec).result()
        if not stores:
            raise ValueError('no arrays')
        require_same_arrays(abstract_state, stores, what=str(path))
        reads = {name: store.read() for name, store in stores.items()}
        return {name: read.result() for name, read in reads.items()}
    except InputError:
        raise
    except Exception as error:  # TensorStore raises whatever it stumbles over
        raise InputError(f'{path}: expected a whole checkpoint, found {error!r}') from None


def restore_newest(
    folder: Path, abstract_state: TrainState, sharding: Sharding, *, may_move: bool
) -> tuple[TrainState, Metadata] | None:
    """Reads the newest whole checkpoint, and moves damaged ones out of the way.

    Args:
      folder: the run's `checkpoints/`.
      abstract_state: as in `restore`.
      sharding: as in `restore`.
      may_move: whether this process moves `<step>` to `damaged-<step>`.

    Returns:
      The state and its metadata, or None when there has never been a checkpoint.

    Raises:
      InputError: when there are checkpoints and none is whole; then none is moved.
    """
    if may_move:
        _put_back_replaced(folder)
    parallel.wait_for_all_processes()  # they must find the same
    damage: dict[int, InputError] = {}
    newest = None
    for step in reversed(list_steps(folder)):
        try:
            if newest is None:
                newest = restore(folder, step, abstract_state, sharding)
            else:
                read_metadata(folder, step)
        except InputError as error:
            damage[step] = error
    if newest is None and (damage or list(folder.glob('damaged-*'))):
        lines = [str(error) for error in damage.values()]
        lines += [str(path) for path in sorted(folder.glob('damaged-*'))]
        raise InputError(
            f'{folder}: expected a whole checkpoint, found only damaged ones:\n  '
            + '\n  '.join(lines)
            + '\nPut a whole one there, or start again in another --workdir'
        )
    for step, error in damage.items():
        logging.error('%s; it is now %s', error, folder / f'damaged-{step}')
        if may_move:
            _move_aside(folder, step)
    return newest


def _put_back_replaced(folder: Path) -> None:
    """Finishes what `CheckpointWriter.replace` could not."""
    for path in folder.glob(f'{REPLACED}*'):
        replacement = folder / path.name.removeprefix(REPLACED)
        if replacement.exists():
            shutil.rmtree(path)
        else:
            path.rename(replacement)


def _move_aside(folder: Path, step: int) -> None:
    target = folder / f'damaged-{step}'
    number = 2
    while target.exists():
        target = folder / f'damaged-{step}-{number}'
        number += 1
    (folder / str(step)).rename(target)


def resolve(folder: Path, which: str | int) -> int:
    """Turns 'best', 'latest', a step, or 'epoch:N' into a step.

    Raises:
      InputError: when there is no such checkpoint; lists those that there are.
    """
    known: dict[int, Metadata] = {}
    for step in list_steps(folder):
        try:
            known[step] = read_metadata(folder, step)
        except InputError as error:
            logging.warning('%s', error)
    step = _find(known, str(which))
    if step not in known:
        there = [f'{step} (epoch {metadata.epoch:g})' for step, metadata in known.items()]
        raise InputError(
            f'checkpoint {which!r} in {folder}: expected best, latest, epoch:N or one of the '
            f'steps {", ".join(there) or "(there are none)"}'
        )
    return step


def _find(known: Mapping[int, Metadata], which: str) -> int | None:
    if which == 'latest':
        return max(known, default=None)
    if which == 'best':
        ranks = {
            rank({**metadata.scores, 'step': step}): step
            for step, metadata in known.items()
            if metadata.scores is not None
        }
        return ranks[max(ranks)] if ranks else max(known, default=None)
    if which.isdecimal():
        return int(which)
    kind, _, epoch = which.partition(':')
    if kind == 'epoch' and epoch.isdecimal():
        return {metadata.epoch: step for step, metadata in known.items()}.get(int(epoch))
    return None


def require_same_arrays(expected: Any, found: Any, *, what: str) -> None:
    """Compares two trees by the names and shapes of their arrays.

    Args:
      expected: what the config describes.
      found: what was stored, or Orbax's description of it.
      what: where that is, for the message.

    Raises:
      InputError: lists the arrays that differ.
    """
    expected, found = (
        {name: tuple(leaf.shape) for name, leaf in _named_leaves(tree).items()}
        for tree in (expected, found)
    )
    different = [
        f'  {name}: expected {expected.get(name, "nothing")}, found {found.get(name, "nothing")}'
        for name in sorted(expected.keys() | found.keys())
        if expected.get(name) != found.get(name)
    ]
    if different:
        raise InputError(
            f'{what}: expected the arrays of the model and optimizer in the config, found others:\n'
            + '\n'.join(different)
        )


def _named_leaves(tree: Any) -> dict[str, Any]:
    """Returns the arrays by name, alike for a state and for Orbax's description of one."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator='/'): leaf
        for path, leaf in leaves
        if hasattr(leaf, 'shape')
    }
