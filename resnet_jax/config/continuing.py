"""Which fields of a config may change when a run is continued."""

from typing import Any

from ml_collections import ConfigDict

from resnet_jax.config.schema import flatten

FREE_FIELDS = (
    'num_devices',
    'model.scan_blocks',
    'model.remat',
    'log_every_steps',
    'evaluate_every_epochs',
    'checkpoint_every_epochs',
    'checkpoint_every_steps',
    'keep_checkpoints',
    'data.dir',
    'data.on_error',
    'data.num_threads',
    'data.prefetch_batches',
)
"""Fields that may differ when a run is continued, because they change no number that it computes.
`num_epochs` may also grow."""


def differences(
    old: ConfigDict, new: ConfigDict
) -> tuple[dict[str, tuple[Any, Any]], dict[str, tuple[Any, Any]]]:
    """Compares a run's config with the one that is to continue it.

    Returns:
      The fields that differ as `{field: (old, new)}`, apart: those that may, those that may not.
    """
    old_flat, new_flat = flatten(old), flatten(new)
    free, locked = {}, {}
    for field, value in new_flat.items():
        if value != old_flat[field]:
            grows = field == 'num_epochs' and value > old_flat[field]
            (free if field in FREE_FIELDS or grows else locked)[field] = (old_flat[field], value)
    return free, locked
