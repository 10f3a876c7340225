"""Selection of a checkpoint by name: 'best', 'latest', a step, or 'epoch:N'."""

from collections.abc import Mapping
from pathlib import Path

from absl import logging

from resnet_jax.checkpoints.format import Metadata
from resnet_jax.checkpoints.reading import list_steps, read_metadata
from resnet_jax.config.leading_metric import rank
from resnet_jax.errors import InputError
from resnet_jax.storage.steps import parse_step


def read_all_metadata(folder: Path) -> dict[int, Metadata]:
    """Returns the metadata of all checkpoints by step, ascending; damaged ones are logged.

    A checkpoint that a training deletes meanwhile is not damaged.

    Args:
      folder: folder `checkpoints/` of the run.
    """
    known: dict[int, Metadata] = {}
    for step in list_steps(folder):
        try:
            known[step] = read_metadata(folder, step)
        except InputError as error:
            if (folder / str(step)).exists():
                logging.warning('%s', error)
    return known


def resolve(folder: Path, which: str | int, leading: str) -> int:
    """Returns the step of the checkpoint that a name selects.

    Args:
      folder: folder `checkpoints/` of the run.
      which: 'best', 'latest', a step, or 'epoch:N'. 'best' is the latest step if no step was
        evaluated.
      leading: accuracy that chooses the best one, as in `rank`.

    Raises:
      InputError: if there is no such checkpoint; the message lists the existing ones.
    """
    known = read_all_metadata(folder)
    selected = select(known, str(which), leading)
    if selected is None or selected not in known:
        existing = [f'{step} (epoch {metadata.epoch:g})' for step, metadata in known.items()]
        raise InputError(
            f'checkpoint {which!r} in {folder}: expected best, latest, epoch:N or one of the '
            f'existing steps, found these steps: {", ".join(existing) or "none"}'
        )
    return selected


def select(known: Mapping[int, Metadata], which: str, leading: str) -> int | None:
    """Returns the step that a name selects among known checkpoints; None if there is none.

    A step is returned as it is, known or not.
    """
    if which == 'latest':
        return max(known, default=None)
    if which == 'best':
        ranks = {
            rank({**metadata.scores, 'step': step}, leading): step
            for step, metadata in known.items()
            if metadata.scores is not None
        }
        return ranks[max(ranks)] if ranks else max(known, default=None)
    kind, _, number = which.rpartition(':')
    if kind == 'epoch':
        epoch = parse_step(number)
        return next((step for step, metadata in known.items() if metadata.epoch == epoch), None)
    return parse_step(which)
