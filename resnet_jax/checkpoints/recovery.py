"""Recovery from damaged checkpoints: restores the newest whole one and moves the damaged aside."""

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
    """Reads the newest whole checkpoint and moves damaged checkpoints aside.

    Args:
      folder: folder `checkpoints/` of the run.
      abstract_state: as in `restore`.
      sharding: as in `restore`.
      may_move: whether this process moves a damaged `<step>` to `damaged-<step>`.

    Returns:
      The state and its metadata, or None if the run has never had a checkpoint.

    Raises:
      InputError: if there are checkpoints but none is whole; then nothing is moved.
    """
    if may_move:
        _put_back_replaced(folder)
    processes.wait_for_all_processes()  # all processes must see the same folders
    errors: dict[int, InputError] = {}
    newest = None
    for step in reversed(list_steps(folder)):
        try:
            if newest is None:
                newest = restore(folder, step, abstract_state, sharding)
            else:
                read_metadata(folder, step)
        except InputError as error:
            errors[step] = error
    if newest is None and (errors or list(folder.glob('damaged-*'))):
        lines = [str(damage) for damage in errors.values()]
        lines += [str(path) for path in sorted(folder.glob('damaged-*'))]
        raise InputError(
            f'{folder}: expected a whole checkpoint, found only damaged ones:\n  '
            + '\n  '.join(lines)
            + '\nCopy a whole one there from a backup, or start a new run in another --workdir'
        )
    for step, damage in errors.items():
        if may_move:
            target = _free_path(folder / f'damaged-{step}')
            logging.error('%s; it is moved to %s', damage, target)
            (folder / str(step)).rename(target)
    return newest


def _put_back_replaced(folder: Path) -> None:
    """Restores each old checkpoint that `CheckpointWriter.replace` did not get to replace."""
    for path in folder.glob(f'{REPLACED}*'):
        replacement = folder / path.name.removeprefix(REPLACED)
        if replacement.exists():
            shutil.rmtree(path)
        else:
            path.rename(replacement)


def _free_path(path: Path) -> Path:
    """Returns the path, or `<path>-2`, `<path>-3` and so on if something is there already."""
    free, number = path, 2
    while free.exists():
        free = path.with_name(f'{path.name}-{number}')
        number += 1
    return free
