"""Config validation: types, choices, ranges and combinations of fields.

Every message names the field, its value and the values that are allowed.
"""

import ast
import difflib
import itertools
import math
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from resnet_jax.config import paths, plain_text
from resnet_jax.config.depths import IMAGENET_BLOCKS, cifar_blocks
from resnet_jax.config.ranges import RANGES, describe_range, is_in_range
from resnet_jax.config.schema import flatten, get_config
from resnet_jax.errors import InputError

CHOICES = {
    'initial_head': ('auto', 'keep', 'new'),
    'best_metric': ('auto', 'top1', 'top5'),
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

_FLOAT32_DIGITS = 38  # the largest number in float32 is 3.4e38

PATHS = ('data.dir', 'initial_weights')
"""Fields that hold a path, which need not be text: Linux allows any bytes in a name."""


def _has_type(value: Any, default: Any) -> bool:
    if isinstance(default, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is type(default)


def _type_message(field: str, value: Any, default: Any) -> str:
    kind = type(default).__name__
    return f'config.{field} = {_show(value)}: expected a value of type {kind}, such as {default!r}'


def _show(value: Any) -> str:
    """Returns the value as text for a message."""
    try:
        return repr(value)
    except ValueError:  # Python refuses to write integers of more than 4300 digits
        return 'a number of thousands of digits'


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
    validate_flat(flatten(config))


def validate_flat(flat: Mapping[str, Any]) -> None:
    """Does what `validate` does, for a config as `{'model.depth': 18, ...}`."""
    defaults = flatten(get_config())
    for field in flat:
        if field not in defaults:
            raise InputError(unknown_field_message(field))
    for field, default in defaults.items():
        if field not in flat:
            raise InputError(f'config.{field}: missing; expected a {type(default).__name__}')
        if not _has_type(flat[field], default):
            raise InputError(_type_message(field, flat[field], default))
        if isinstance(default, str):
            _validate_text(flat, field)
    for field, choices in CHOICES.items():
        _require(flat, field, flat[field] in choices, f'one of {", ".join(choices)}')
    _validate_numbers(flat, 'data.mean', 3)
    _validate_numbers(flat, 'data.std', 3)
    _validate_numbers(flat, 'schedule.boundaries_epochs')
    _validate_size_schedule(flat)
    for field in RANGES:
        in_range = is_in_range(field, flat[field])
        _require(flat, field, in_range, describe_range(field, flat[field]))
    _validate_combinations(flat)


def _require(flat: Mapping[str, Any], field: str, holds: bool, allowed: str) -> None:
    if not holds:
        raise InputError(f'config.{field} = {_show(flat[field])}: expected {allowed}')


def _validate_text(flat: Mapping[str, Any], field: str) -> None:
    """Checks that a string can be the name of a file, and can be written into text files."""
    if field in PATHS:
        _require(flat, field, paths.is_possible(flat[field]), paths.LIMITS)
    else:
        is_plain = not plain_text.find_refused(flat[field])
        _require(flat, field, is_plain, 'text without control characters and surrogates')


def _validate_numbers(flat: Mapping[str, Any], field: str, length: int | None = None) -> None:
    numbers = all(_has_type(value, 0.0) for value in flat[field])
    right_length = length is None or len(flat[field]) == length
    expected = 'numbers' if length is None else f'{length} numbers'
    _require(flat, field, numbers and right_length, f'a tuple of {expected}')


def _validate_combinations(flat: Mapping[str, Any]) -> None:
    if flat['model.depth'] not in IMAGENET_BLOCKS:
        cifar_blocks(flat['model.depth'])
    if flat['model.variant'] == 'timm_d' and flat['model.stem'] == 'imagenet':
        allowed = (
            "at least 2, because two layers of the stem of 'timm_d' have half as many channels"
        )
        _require(flat, 'model.width', flat['model.width'] >= 2, allowed)
    if flat['data.resize_size'] < flat['data.image_size']:
        allowed = f'at least data.image_size = {flat["data.image_size"]}'
        _require(flat, 'data.resize_size', False, allowed)
    _validate_schedule(flat)
    if flat['data.source'] == 'folder':
        allowed = "the folder that holds <split>/<class>/*.jpg, because data.source is 'folder'"
        _require(flat, 'data.dir', bool(flat['data.dir']), allowed)
    if not flat['initial_weights']:
        allowed = "'none', or config.initial_weights: a backbone of random weights must be trained"
        _require(flat, 'optimizer.frozen', flat['optimizer.frozen'] == 'none', allowed)
        allowed = "'auto', or config.initial_weights: without them there is no head to choose"
        _require(flat, 'initial_head', flat['initial_head'] == 'auto', allowed)
    accumulate_steps = flat['optimizer.accumulate_steps']
    validate_shares(flat['batch_size'], flat['num_devices'] or 1, accumulate_steps)


def _validate_schedule(flat: Mapping[str, Any]) -> None:
    """Checks the order of the boundaries, and that every learning rate fits float32."""
    boundaries = flat['schedule.boundaries_epochs']
    increasing = all(a < b for a, b in itertools.pairwise((0, *boundaries)))
    allowed = 'strictly increasing epochs above 0'
    _require(flat, 'schedule.boundaries_epochs', increasing, allowed)
    by_name = {'step': len(boundaries), 'exponential': flat['num_epochs']}
    times = by_name.get(flat['schedule.name'], 0)
    growth = times * math.log10(flat['schedule.factor'])
    highest = max(math.log10(flat['optimizer.learning_rate']), 0) + growth
    allowed = f'a smaller factor: it is applied {times} times, and float32 ends at about 1e38'
    _require(flat, 'schedule.factor', highest < _FLOAT32_DIGITS, allowed)


def _validate_size_schedule(flat: Mapping[str, Any]) -> None:
    field = 'data.size_schedule'
    schedule = flat[field]
    pairs = all(
        isinstance(pair, tuple) and [type(n) for n in pair] == [int] * 2 for pair in schedule
    )
    _require(flat, field, pairs, 'a tuple of pairs (epoch, px), such as ((0, 128), (20, 224))')
    increasing = all(a < b for (a, _), (b, _) in itertools.pairwise(((-1, 0), *schedule)))
    _require(flat, field, increasing, 'strictly increasing epochs of at least 0')
    sizes = all(is_in_range('data.image_size', px) for _, px in schedule)
    low, high = RANGES['data.image_size']
    _require(flat, field, sizes, f'sizes of at least {low} px and at most {high} px')
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
            f'device{"s" * (num_devices > 1)}{parts}), such as {" or ".join(map(str, nearest))}'
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
    validate_num_classes(config, len(expected))


def validate_num_classes(config: ConfigDict, num_classes: int) -> None:
    """Checks that the network has a logit for each class in the data.

    Raises:
      InputError: if it has fewer.
    """
    if 0 < config.model.num_classes < num_classes:
        raise InputError(
            f'config.model.num_classes = {config.model.num_classes}: expected at least '
            f'{num_classes}, the number of classes in the data, or 0 for exactly that number'
        )


def validate_num_steps(config: ConfigDict, steps_per_epoch: int) -> None:
    """Checks that the number of steps of the run fits int32, the type of the state's step.

    Raises:
      InputError: if the run has more steps.
    """
    largest = (2**31 - 1) // steps_per_epoch
    if config.num_epochs > largest:
        raise InputError(
            f'config.num_epochs = {config.num_epochs}: expected at most {largest}, as an epoch has '
            f'{steps_per_epoch} steps and a run at most 2**31 - 1; choose fewer epochs or a larger '
            'batch_size'
        )
