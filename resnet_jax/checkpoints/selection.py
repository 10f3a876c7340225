"""Which checkpoint is meant: 'best', 'latest', a step, or 'epoch:N'."""

from collections.abc import Mapping
from pathlib import Path

from absl import logging

from resnet_jax.checkpoints.format import Metadata, rank
from resnet_jax.checkpoints.reading import list_steps, read_metadata
from resnet_jax.errors import InputError


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
