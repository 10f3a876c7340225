"""Selection of a checkpoint by name: 'best', 'latest', a step, or 'epoch:N'."""

from collections.abc import Mapping
from pathlib import Path

from absl import logging

from resnet_jax.checkpoints.format import Metadata, rank
from resnet_jax.checkpoints.reading import list_steps, read_metadata
from resnet_jax.errors import InputError


def read_all_metadata(folder: Path) -> dict[int, Metadata]:
    """Returns the metadata of all checkpoints by step, ascending; damaged ones are logged.

    Args:
      folder: folder `checkpoints/` of the run.
    """
    known: dict[int, Metadata] = {}
    for step in list_steps(folder):
        try:
            known[step] = read_metadata(folder, step)
        except InputError as error:
            logging.warning('%s', error)
    return known


def resolve(folder: Path, which: str | int) -> int:
    """Returns the step of the checkpoint that a name selects.

    Args:
      folder: folder `checkpoints/` of the run.
      which: 'best', 'latest', a step, or 'epoch:N'. 'best' is the latest step if no step was
        evaluated.

    Raises:
      InputError: if there is no such checkpoint; the message lists the existing ones.
    """
    known = read_all_metadata(folder)
    selected = select(known, str(which))
    if selected is None or selected not in known:
        existing = [f'{step} (epoch {metadata.epoch:g})' for step, metadata in known.items()]
        raise InputError(
            f'checkpoint {which!r} in {folder}: expected best, latest, epoch:N or one of the '
            f'existing steps, found these steps: {", ".join(existing) or "none"}'
        )
    return selected


def select(known: Mapping[int, Metadata], which: str) -> int | None:
    """Returns the step that a name selects among known checkpoints; None if there is none.

    A step is returned as it is, known or not.
    """
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
