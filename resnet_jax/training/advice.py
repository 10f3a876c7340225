"""Advice at the start of a run: settings that are allowed but probably not intended."""

import itertools

from ml_collections import ConfigDict

from resnet_jax.console.wording import format_count
from resnet_jax.training.schedules import unreached_boundaries

FEW_STEPS = 20
"""An epoch with fewer steps gets a warning: evaluations and checkpoints take much of its time."""

MANY_DROPPED = 0.1
"""An epoch that drops a larger share of the examples gets a warning."""


def list_warnings(config: ConfigDict, num_examples: int, steps_per_epoch: int) -> list[str]:
    """Returns a sentence for each setting that is probably not intended.

    Args:
      config: valid config.
      num_examples: number of examples in the training split.
      steps_per_epoch: number of steps in an epoch.
    """
    data, schedule = config.data, config.schedule
    run = f'a run of {format_count(config.num_epochs, "epoch")}'
    warnings = _list_boundary_warnings(config, steps_per_epoch)
    if schedule.warmup_epochs > config.num_epochs:
        warnings.append(
            f'config.schedule.warmup_epochs = {schedule.warmup_epochs:g} is longer than {run}: the '
            'learning rate never reaches config.optimizer.learning_rate'
        )
    if data.train_split == data.validation_split:
        warnings.append(
            f'training and validation use the same split, {data.train_split!r}: the accuracy says '
            'nothing about other images'
        )
    smaller = f'a smaller config.batch_size than {config.batch_size}'
    if steps_per_epoch < FEW_STEPS:
        warnings.append(
            f'an epoch has only {format_count(steps_per_epoch, "step")}: consider {smaller}'
        )
    dropped = num_examples - steps_per_epoch * config.batch_size
    if dropped > MANY_DROPPED * num_examples:
        warnings.append(
            f'an epoch leaves out {dropped:,} of {num_examples:,} examples, others in each epoch, '
            f'because they do not fill a batch: consider {smaller}'
        )
    return warnings


def _list_boundary_warnings(config: ConfigDict, steps_per_epoch: int) -> list[str]:
    if config.schedule.name != 'step':
        return []
    field, warnings = 'config.schedule.boundaries_epochs', []
    for earlier, later in itertools.pairwise(config.schedule.boundaries_epochs):
        step = round(later * steps_per_epoch)
        if round(earlier * steps_per_epoch) == step:
            warnings.append(
                f'{field}: {earlier} and {later} are both step {step}, so the learning rate drops '
                'once there'
            )
    unreached = unreached_boundaries(config)
    if unreached:
        epochs = ', '.join(f'{epoch:g}' for epoch in unreached)
        verb = 'has' if len(unreached) == 1 else 'have'
        run = f'a run of {format_count(config.num_epochs, "epoch")}'
        warnings.append(f'{field}: {epochs} {verb} no effect in {run}')
    return warnings
