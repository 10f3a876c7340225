"""Ranges of the numbers in a config.

No sensible run comes near an upper limit. Numbers within the ranges fit their types: int32 and
float32 on devices, int64 in the input pipeline.
"""

from typing import Any

SMALLEST = 1e-30
"""Smallest number above 0 of a float field; much smaller ones are 0 in float32 on devices."""

_BELOW_1 = 0.999999  # much closer to 1, a number is 1 in float32

RANGES: dict[str, tuple[float, float]] = {
    'seed': (0, 2**31 - 2),
    'num_epochs': (1, 100_000),
    'batch_size': (1, 1_000_000),
    'num_devices': (0, 256),
    'model.depth': (8, 3000),
    'model.width': (1, 1024),
    'model.num_classes': (0, 65_536),  # confusion counts hold uint16
    'model.batch_norm_momentum': (0, _BELOW_1),
    'model.batch_norm_epsilon': (0, 1),
    'data.validation_fraction': (0, _BELOW_1),
    'data.image_size': (1, 4096),
    'data.size_schedule': (0, 100_000),
    'data.resize_size': (1, 8192),
    'data.mean': (-1000, 1000),
    'data.std': (0.001, 1000),
    'data.max_skipped_fraction': (0, 1),
    'data.num_threads': (0, 1024),
    'data.prefetch_batches': (1, 1000),
    'data.shuffle_group_files': (1, 1_000_000),
    'optimizer.learning_rate': (SMALLEST, 1e30),
    'optimizer.momentum': (0, _BELOW_1),
    'optimizer.weight_decay': (0, 1000),
    'optimizer.gradient_clip': (0, 1e30),
    'optimizer.accumulate_steps': (1, 1000),
    'label_smoothing': (0, _BELOW_1),
    'ema_decay': (0, _BELOW_1),
    'schedule.factor': (1e-6, 1000),
    'schedule.boundaries_epochs': (0, 100_000),
    'schedule.warmup_epochs': (0, 100_000),
    'log_every_steps': (1, 1_000_000_000),
    'evaluate_every_epochs': (1, 1_000_000_000),
    'checkpoint_every_epochs': (1, 1_000_000_000),
    'checkpoint_every_steps': (0, 1_000_000_000),
    'keep_checkpoints': (0, 1_000_000_000),
}
"""Smallest and largest value of each numeric field, and of each number of a tuple."""

MAX_LENGTH = 100
"""Largest number of items of a tuple."""


def is_in_range(field: str, value: Any) -> bool:
    """Returns whether a number, or every number of a tuple, is allowed in a field."""
    if isinstance(value, tuple):
        return len(value) <= MAX_LENGTH and all(is_in_range(field, item) for item in value)
    low, high = RANGES[field]
    return low <= value <= high and not _is_tiny(value)


def describe_range(field: str, value: Any) -> str:
    """Returns what `is_in_range` allows in words, such as 'at least 1 and at most 1,000'.

    Args:
      field: name of a field in `RANGES`.
      value: value of the field that is not allowed.
    """
    low, high = RANGES[field]
    numbers = f'at least {low:,} and at most {high:,}'
    if isinstance(value, tuple):
        return f'at most {MAX_LENGTH} numbers, each {numbers}'
    return f'0, or at least {SMALLEST:g}' if _is_tiny(value) and low == 0 else numbers


def _is_tiny(value: float) -> bool:
    return 0 < abs(value) < SMALLEST
