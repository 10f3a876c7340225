"""Config validation: types, choices, ranges and combinations of fields.

Every message names the field, its value and the values that are allowed.
"""

import ast
import difflib
import itertools
import math
from typing import Any

from ml_collections import ConfigDict

from resnet_jax.config.depths import IMAGENET_BLOCKS, cifar_blocks
from resnet_jax.config.schema import flatten, get_config
from resnet_jax.errors import InputError

CHOICES = {
    'model.variant': ('mxnet', 'timm', 'timm_d', 'gluoncv', 'gluoncv_cifar', 'keras'),
    'model.stem': ('imagenet', 'cifar'),
    'model.dtype': ('float32', 'bfloat16'),
    'model.remat': ('none', 'blocks'),
    'model.kernel_init': ('he_fan_out', 'he_fan_in', 'mxnet_2016'),
    'data.source': ('digits', 'tfds', 'folder'),
    'data.augmentation': ('random_resized_crop', 'crop_mirror', 'pad_crop', 'shift', 'none'),
    'data.train_interpolation': ('bilinear', 'bicubic'),
    'data.validation_interpolation': ('bilinear', 'bicubic'),
    'data.on_error': ('raise', 'skip'),
    'optimizer.gradient_clip_kind': ('global_norm', 'value'),
    'optimizer.frozen': ('none', 'backbone'),
    'schedule.name': ('step', 'exponential', 'cosine', 'constant'),
}
"""The allowed values of each field that has a fixed set of them."""

_AT_LEAST_1 = (lambda value: value >= 1), 'at least 1'

_AT_LEAST_0 = (lambda value: value >= 0), 'at least 0'

_FRACTION = (lambda value: 0 <= value < 1), 'at least 0 and below 1'

_POSITIVE = (lambda value: value > 0), 'more than 0'

RANGES = {
    'seed': ((lambda value: 0 <= value < 2**31), 'at least 0 and below 2**31'),
    'num_epochs': _AT_LEAST_1,
    'batch_size': _AT_LEAST_1,
    'num_devices': _AT_LEAST_0,
    'model.width': _AT_LEAST_1,
    'model.num_classes': _AT_LEAST_0,
    'model.batch_norm_momentum': _FRACTION,
    'model.batch_norm_epsilon': _AT_LEAST_0,
    'data.image_size': _AT_LEAST_1,
    'data.resize_size': _AT_LEAST_1,
    'data.num_threads': _AT_LEAST_0,
    'data.prefetch_batches': _AT_LEAST_1,
    'data.shuffle_group_files': _AT_LEAST_1,
    'optimizer.learning_rate': _POSITIVE,
    'optimizer.momentum': _FRACTION,
    'optimizer.weight_decay': _AT_LEAST_0,
    'optimizer.gradient_clip': _AT_LEAST_0,
    'optimizer.accumulate_steps': _AT_LEAST_1,
    'label_smoothing': _FRACTION,
    'ema_decay': _FRACTION,
    'schedule.factor': _POSITIVE,
    'schedule.warmup_epochs': _AT_LEAST_0,
    'log_every_steps': _AT_LEAST_1,
    'evaluate_every_epochs': _AT_LEAST_1,
    'checkpoint_every_epochs': _AT_LEAST_1,
    'checkpoint_every_steps': _AT_LEAST_0,
    'keep_checkpoints': _AT_LEAST_0,
}
"""For each numeric field, a predicate that says whether a value is allowed, and its description."""


def _same_type(value: Any, default: Any) -> bool:
    if isinstance(default, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is type(default)


def _type_message(field: str, value: Any, default: Any) -> str:
    kind = type(default).__name__
    return f'config.{field} = {value!r}: expected a value of type {kind}, such as {default!r}'


def unknown_field_message(field: str) -> str:
    """Returns a message that the field does not exist, with the names of similar fields."""
    fields = list(flatten(get_config()))
    similar = difflib.get_close_matches(field, fields, n=3, cutoff=0.5) or [
        name for name in fields if name.endswith('.' + field.rsplit('.', 1)[-1])
    ]
    hint = (
        f'did you mean {" or ".join(similar)}?'
        if similar
        else f'the fields are {", ".join(fields)}'
    )
    return f'config.{field}: there is no such field; {hint}'


def field_type_message(field: str, text: str) -> str:
    """Returns a message about text on the command line that does not fit the field's type."""
    default = flatten(get_config())[field]
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    return _type_message(field, value, default)


def validate(config: ConfigDict) -> None:
    """Checks every field and combination that can be checked without data or devices.

    Raises:
      InputError: if a field or a combination of fields is not allowed.
    """
    flat, defaults = flatten(config), flatten(get_config())
    for field in flat:
        if field not in defaults:
            raise InputError(unknown_field_message(field))
    for field, default in defaults.items():
        if field not in flat:
            raise InputError(f'config.{field}: missing; expected a {type(default).__name__}')
        if not _same_type(flat[field], default):
            raise InputError(_type_message(field, flat[field], default))
    for field, choices in CHOICES.items():
        _require(flat, field, flat[field] in choices, f'one of {", ".join(choices)}')
    for field, (holds, allowed) in RANGES.items():
        _require(flat, field, _is_finite(flat[field]) and holds(flat[field]), allowed)
    _validate_numbers(flat, 'data.mean', 3)
    _validate_numbers(flat, 'data.std', 3)
    _require(flat, 'data.std', min(flat['data.std']) > 0, 'three numbers of more than 0')
    _validate_combinations(flat)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _require(flat: dict[str, Any], field: str, holds: bool, allowed: str) -> None:
    if not holds:
        raise InputError(f'config.{field} = {flat[field]!r}: expected {allowed}')


def _validate_numbers(flat: dict[str, Any], field: str, length: int | None = None) -> None:
    numbers = all(_same_type(value, 0.0) and _is_finite(value) for value in flat[field])
    right_length = length is None or len(flat[field]) == length
    expected = 'numbers' if length is None else f'{length} numbers'
    _require(flat, field, numbers and right_length, f'a tuple of {expected}')


def _validate_combinations(flat: dict[str, Any]) -> None:
    if flat['model.depth'] not in IMAGENET_BLOCKS:
        cifar_blocks(flat['model.depth'])
    boundaries = flat['schedule.boundaries_epochs']
    _validate_numbers(flat, 'schedule.boundaries_epochs')
    increasing = all(a < b for a, b in zip((0, *boundaries), boundaries, strict=False))
    allowed = 'strictly increasing epochs above 0'
    _require(flat, 'schedule.boundaries_epochs', increasing, allowed)
    if flat['data.resize_size'] < flat['data.image_size']:
        allowed = f'at least data.image_size = {flat["data.image_size"]}'
        _require(flat, 'data.resize_size', False, allowed)
    _validate_size_schedule(flat)
    if flat['data.source'] == 'folder':
        allowed = "the folder that holds <split>/<class>/*.jpg, because data.source is 'folder'"
        _require(flat, 'data.dir', bool(flat['data.dir']), allowed)
    if not flat['initial_weights']:
        allowed = "'none', or config.initial_weights: a backbone of random weights must be trained"
        _require(flat, 'optimizer.frozen', flat['optimizer.frozen'] == 'none', allowed)
    accumulate_steps = flat['optimizer.accumulate_steps']
    validate_shares(flat['batch_size'], flat['num_devices'] or 1, accumulate_steps)


def _validate_size_schedule(flat: dict[str, Any]) -> None:
    field = 'data.size_schedule'
    schedule = flat[field]
    pairs = all(
        isinstance(pair, tuple) and [type(n) for n in pair] == [int] * 2 for pair in schedule
    )
    _require(flat, field, pairs, 'a tuple of pairs (epoch, px), such as ((0, 128), (20, 224))')
    increasing = all(a < b for (a, _), (b, _) in itertools.pairwise(((-1, 0), *schedule)))
    _require(flat, field, increasing, 'strictly increasing epochs of at least 0')
    _require(flat, field, all(px > 0 for _, px in schedule), 'sizes of at least 1 px')
    resizing = ('random_resized_crop', 'crop_mirror')
    if schedule and flat['data.augmentation'] not in resizing:
        allowed = f'() unless data.augmentation is {" or ".join(resizing)}'
        _require(flat, field, False, f'{allowed} (it is {flat["data.augmentation"]!r})')


def validate_shares(batch_size: int, num_devices: int, accumulate_steps: int = 1) -> None:
    """Checks that a batch can be split equally over the devices, and each share into equal parts.

    Args:
      batch_size: number of examples in the batch.
      num_devices: number of devices.
      accumulate_steps: number of parts of each device's share.

    Raises:
      InputError: if the batch size is not a multiple of devices times parts.
    """
    shares = num_devices * accumulate_steps
    if batch_size % shares:
        below = batch_size - batch_size % shares
        nearest = [size for size in (below, below + shares) if size]
        parts = f' times {accumulate_steps} accumulate_steps' if accumulate_steps > 1 else ''
        raise InputError(
            f'config.batch_size = {batch_size}: expected a multiple of {shares} ({num_devices} '
            f'devices{parts}), such as {" or ".join(map(str, nearest))}'
        )


def validate_classes(
    config: ConfigDict, expected: tuple[str, ...], actual: tuple[str, ...], *, where: str
) -> None:
    """Checks that two sets of class names agree, and that the network has a logit for each class.

    Args:
      config: complete config, of which `model.num_classes` is read.
      expected: class names in index order.
      actual: class names in index order that must be the same.
      where: names of the two places that the class names come from, for the message.

    Raises:
      InputError: if the class names differ, or if the network has too few logits.
    """
    if expected != actual:
        pairs = itertools.zip_longest(expected, actual, fillvalue='nothing')
        index, (first, second) = next(
            (i, pair) for i, pair in enumerate(pairs) if len(set(pair)) > 1
        )
        raise InputError(
            f'{where}: expected the same classes in the same order, found {first!r} and {second!r} '
            f'at index {index} ({len(expected)} and {len(actual)} classes in total); fix the data, '
            'or choose another data set'
        )
    if 0 < config.model.num_classes < len(expected):
        raise InputError(
            f'config.model.num_classes = {config.model.num_classes}: expected at least '
            f'{len(expected)}, the number of classes in the data, or 0 for exactly that number'
        )
