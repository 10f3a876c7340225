"""Restoring the newest whole checkpoint, and moving damaged ones out of the way."""

import shutil
from pathlib import Path
from typing import Any

from absl import logging
from jax.sharding import Sharding

from resnet_jax.checkpoints.format import REPLACED, Metadata
from resnet_jax.checkpoints.reading import list_steps, read_metadata, restore
from resnet_jax.devices import processes
from resnet_jax.errors import InputError


def restore_newest(
    folder: Path, abstract_state: Any, sharding: Sharding, *, may_move: bool
) -> tuple[Any, Metadata] | None:
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
    processes.wait_for_all_processes()  # they must find the same
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
