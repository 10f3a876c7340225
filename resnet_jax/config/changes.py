"""Config fields that can change when a run is continued, and the comparison of two configs."""

from typing import Any

from ml_collections import ConfigDict

from resnet_jax.config.schema import flatten

FREE_FIELDS = (
    'num_devices',
    'model.scan_blocks',
    'model.remat',
    'log_every_steps',
    'best_metric',
    'evaluate_every_epochs',
    'checkpoint_every_epochs',
    'checkpoint_every_steps',
    'keep_checkpoints',
    'data.dir',
    'data.on_error',
    'data.max_skipped_fraction',
    'data.num_threads',
    'data.prefetch_batches',
)
"""Fields that can change when a run is continued. They say where and how to compute, not what.

`num_devices` is an exception unless `model.sync_batch_norm` is set: with another number of devices,
batch norm computes its statistics over other shares of a batch. `training.continuing` warns of it.
`num_epochs` can also increase, if the learning rate of a step does not depend on it.
"""

Changes = dict[str, tuple[Any, Any]]
"""Old and new value by field."""


def differences(old: ConfigDict, new: ConfigDict) -> tuple[Changes, Changes]:
    """Compares the config of a run with the config that is to continue it.

    Returns:
      The fields that differ, as two dicts `{field: (old, new)}`: first the allowed changes, then
      the refused ones.
    """
    old_flat, new_flat = flatten(old), flatten(new)
    free: Changes = {}
    locked: Changes = {}
    for field, value in new_flat.items():
        if value != old_flat[field]:
            grows = field == 'num_epochs' and value > old_flat[field] and not shapes_schedule(new)
            (free if field in FREE_FIELDS or grows else locked)[field] = (old_flat[field], value)
    return free, locked


def shapes_schedule(config: ConfigDict) -> bool:
    """Returns whether the learning rate of a step depends on `num_epochs`."""
    return config.schedule.name == 'cosine'
