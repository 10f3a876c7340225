"""Checks before a run is continued: the same config, the same data, and steps left to train."""

from absl import logging
from jax.sharding import Mesh
from ml_collections import ConfigDict

from resnet_jax.checkpoints import reading, trained_network
from resnet_jax.config import checks
from resnet_jax.config.changes import differences, shapes_schedule
from resnet_jax.console.wording import format_count
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
    """Checks that a run is continued on the data on which it started.

    Raises:
      InputError: if the classes or the numbers of examples differ.
    """
    num_examples_before = (
        workdir.read_environment().get('num_examples') if workdir.has_run() else None
    )
    if num_examples_before is None:
        return
    checks.validate_classes(
        config,
        workdir.read_class_names(),
        train_source.class_names,
        where=f'{workdir.path} and split {config.data.train_split!r}',
    )
    num_examples = [train_source.num_examples, validation_source.num_examples]
    if num_examples_before != num_examples:
        raise InputError(
            f'{workdir.path}: expected {num_examples_before} training and validation examples, as '
            f'when the run started, found {num_examples}; restore the data, or choose another '
            '--workdir'
        )


def require_same_run(config: ConfigDict, workdir: Workdir) -> bool:
    """Compares a config with that of the run in a folder.

    Fields that are free to change are logged when they differ.

    Returns:
      Whether any of those fields differs.

    Raises:
      InputError: if any other field differs; the message lists all of them.
    """
    free, locked = differences(workdir.read_config(), config)
    if locked:
        lines = [
            f'  {field}: expected {old!r}, found {new!r}' for field, (old, new) in locked.items()
        ]
        if 'num_epochs' in locked and shapes_schedule(config):
            lines.append(
                f'  The learning rates of a {config.schedule.name} schedule depend on num_epochs, '
                'so another number would contradict the epochs that are done. To train longer, '
                f'start another run with --config.initial_weights={workdir.path}.'
            )
        raise InputError(
            f'{workdir.path}: expected the config with which the run started, found other values:\n'
            + '\n'.join(lines)
            + '\nUndo these changes, or choose another --workdir.'
        )
    for field, (old, new) in free.items():
        logging.info('config.%s is now %r, was %r', field, new, old)
    return bool(free)


def keep_best_metric(config: ConfigDict, workdir: Workdir) -> ConfigDict:
    """Returns the config; if there is a run, its own `best_metric` takes the place of 'auto'.

    So a run of an earlier version, which chose the best checkpoint by top-5, continues to do so.
    """
    if config.best_metric == 'auto' and workdir.has_run():
        config = config.copy_and_resolve_references()
        config.best_metric = workdir.read_config().best_metric
    return config


def warn_of_other_devices(config: ConfigDict, workdir: Workdir, mesh: Mesh) -> None:
    """Warns in the log if batch norm will compute its statistics over other shares of a batch.

    Args:
      config: valid config.
      workdir: folder of the run, with the environment of the last session.
      mesh: devices of this session.
    """
    devices_before = workdir.read_environment().get('devices')
    if config.model.sync_batch_norm or config.optimizer.frozen == 'backbone':
        return
    now = mesh.devices.size
    if isinstance(devices_before, list) and 0 < len(devices_before) != now:
        before, part = len(devices_before), config.batch_size // config.optimizer.accumulate_steps
        logging.warning(
            'the run continues on %s instead of %d: batch norm computes its statistics over %s '
            'instead of %d (config.model.sync_batch_norm is False), so the results differ',
            *(format_count(now, 'device'), before),
            *(format_count(part // now, 'image'), part // before),
        )


def is_complete(config: ConfigDict, workdir: Workdir, mesh: Mesh) -> bool:
    """Returns whether the last epoch of a run is done and its result can be read."""
    steps_saved = reading.list_steps(workdir.checkpoints)
    try:
        last = reading.read_metadata(workdir.checkpoints, steps_saved[-1])
        if last.epoch < config.num_epochs or last.scores is None:
            return False
        trained_network.load_trained_network(workdir, last.step, parallel.replicated(mesh))
    except (IndexError, InputError):  # no checkpoint, or a damaged one: restoring handles both
        return False
    return True


def say_complete(workdir: Workdir) -> None:
    """Logs the result of a complete run."""
    step = reading.list_steps(workdir.checkpoints)[-1]
    last = reading.read_metadata(workdir.checkpoints, step)
    assert last.scores is not None  # the last step of a run is always evaluated
    logging.info(
        '%s: complete, %s done; validation top-1 %.2f%%, top-5 %.2f%%',
        workdir.path,
        '1 epoch is' if last.epoch == 1 else f'{last.epoch:g} epochs are',
        100 * last.scores['top1'],
        100 * last.scores['top5'],
    )
