"""Continuing a run: is it the same run, are its data the same, is it complete."""

from absl import logging
from jax.sharding import Mesh
from ml_collections import ConfigDict

from resnet_jax.checkpoints import reading, trained_network
from resnet_jax.config import checks, continuing
from resnet_jax.data.source import Source
from resnet_jax.devices import parallel
from resnet_jax.errors import InputError
from resnet_jax.storage.workdir import Workdir


def require_same_data(
    config: ConfigDict,
    workdir: Workdir,
    train_source: Source,
    validation_source: Source,
) -> None:
    """Checks that the data of a run that is continued are those that it began with.

    Raises:
      InputError: when their classes or numbers differ.
    """
    before = workdir.read_environment().get('num_examples') if workdir.has_run() else None
    if before is None:
        return
    checks.validate_classes(
        config,
        workdir.read_class_names(),
        train_source.class_names,
        where=f'{workdir.path} and split {config.data.train_split!r}',
    )
    now = [train_source.num_examples, validation_source.num_examples]
    if before != now:
        raise InputError(
            f'{workdir.path}: expected the {before} training and validation examples that its run '
            f'began with, found {now}; bring the data back, or choose another --workdir'
        )


def require_same_run(config: ConfigDict, workdir: Workdir) -> bool:
    """Compares a config with that of the run in a folder.

    Returns:
      Whether it differs, in fields that are free to change; each is logged.

    Raises:
      InputError: when it differs in others; lists them.
    """
    free, locked = continuing.differences(workdir.read_config(), config)
    if locked:
        lines = [f'  {field}: {old!r} there, {new!r} now' for field, (old, new) in locked.items()]
        raise InputError(
            f'{workdir.path}: expected the config that its run began with, found other values in\n'
            + '\n'.join(lines)
            + '\nTake them back, or choose another --workdir.'
        )
    for field, (old, new) in free.items():
        logging.info('config.%s is now %r, was %r', field, new, old)
    return bool(free)


def is_complete(config: ConfigDict, workdir: Workdir, mesh: Mesh) -> bool:
    """Says whether the last epoch of a run is done, and its result can be read."""
    steps_saved = reading.list_steps(workdir.checkpoints)
    try:
        last = reading.read_metadata(workdir.checkpoints, steps_saved[-1])
        if last.epoch < config.num_epochs or last.scores is None:
            return False
        trained_network.load_trained_network(workdir, last.step, parallel.replicated(mesh))
    except (IndexError, InputError):  # none, or a damaged one, which restoring will deal with
        return False
    return True


def say_complete(workdir: Workdir) -> None:
    """Logs what a complete run came to."""
    step = reading.list_steps(workdir.checkpoints)[-1]
    last = reading.read_metadata(workdir.checkpoints, step)
    logging.info(
        '%s: complete, %g epochs are done; validation top-1 %.2f%%, top-5 %.2f%%',
        workdir.path,
        last.epoch,
        100 * last.scores['top1'],
        100 * last.scores['top5'],
    )
