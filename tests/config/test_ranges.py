"""Every number of a config has a range."""

import math
import re

import numpy as np
import pytest
from support.configs import CONFIGS, digits_config, load

from resnet_jax.config import checks, schema
from resnet_jax.config.ranges import MAX_LENGTH, RANGES
from resnet_jax.data import pipeline
from resnet_jax.data.sources import registry
from resnet_jax.errors import InputError
from resnet_jax.models import initialization, resnet


def numeric_fields():
    return [
        field
        for field, default in schema.flatten(schema.get_config()).items()
        if not isinstance(default, str | bool)
    ]


def with_value(field, value):
    return digits_config(**{field.replace('.', '__'): value})


def test_every_numeric_field_has_a_range_that_holds_its_default():
    assert set(RANGES) == set(numeric_fields())
    checks.validate(schema.get_config())


def test_every_other_field_is_a_switch_a_choice_or_text():
    rest = schema.flatten(schema.get_config()).keys() - RANGES.keys() - checks.CHOICES.keys()
    kinds = {type(schema.flatten(schema.get_config())[field]) for field in rest}
    assert kinds == {bool, str}


@pytest.mark.parametrize(
    ('field', 'value', 'limit'),
    [
        ('seed', 2**31 - 1, '2,147,483,646'),
        ('data.resize_size', 2**32, '8,192'),
        ('model.num_classes', 10**12, '65,536'),
        ('num_epochs', 10**12, '100,000'),
        ('data.prefetch_batches', 10**28, '1,000'),
        ('schedule.warmup_epochs', 1e300, '100,000'),
        ('model.width', 10**9, '1,024'),
        ('model.depth', 6 * 10**9 + 2, '3,000'),
        ('optimizer.learning_rate', 1e39, '1e+30'),
        ('batch_size', 10**12, '1,000,000'),
        ('num_devices', 10**6, '256'),
        ('optimizer.accumulate_steps', 10**9, '1,000'),
        ('data.num_threads', 10**9, '1,024'),
        ('log_every_steps', 2**63, '1,000,000,000'),
        ('schedule.boundaries_epochs', (1, 1e300), '100,000'),
        ('data.size_schedule', ((10**12, 8),), '100,000'),
        ('data.mean', (0.0, 0.0, 1e39), '1,000'),
        ('data.std', (1.0, 1.0, 1e39), '1,000'),
    ],
)
def test_an_absurd_number_is_refused_with_the_range(field, value, limit):
    config = with_value(field, value)
    if field == 'data.size_schedule':
        config.data.augmentation = 'crop_mirror'
    with pytest.raises(InputError) as refusal:
        checks.validate(config)
    assert re.search(rf'^config.{field} = .* at most {re.escape(limit)}$', str(refusal.value))


@pytest.mark.parametrize('field', numeric_fields())
def test_a_number_just_outside_the_range_is_refused(field):
    low, high = RANGES[field]
    default = schema.flatten(schema.get_config())[field]
    for value in (low - 1, high * 2 + 1, math.inf if isinstance(default, float) else 10**400):
        if field == 'data.size_schedule':
            value = ((value, 8),)
        elif isinstance(default, tuple):
            value = (value, value, value)
        with pytest.raises(InputError, match=f'config.{field} = '):
            checks.validate(with_value(field, value))


@pytest.mark.parametrize('field', numeric_fields())
def test_no_number_above_0_is_0_in_float32(field):
    default = schema.flatten(schema.get_config())[field]
    if not isinstance(default, float):
        return
    with pytest.raises(InputError, match=rf'config.{field} = 1e-38: expected .*at least 1e-'):
        checks.validate(with_value(field, 1e-38))


@pytest.mark.parametrize('field', numeric_fields())
def test_the_limits_of_a_float_are_exact_enough_in_float32(field):
    default = schema.flatten(schema.get_config())[field]
    if not isinstance(default, float):
        return
    low, high = (np.float32(limit) for limit in RANGES[field])
    assert np.isfinite([low, high]).all()
    assert (low == 0) == (RANGES[field][0] == 0)
    assert (high == 1) == (RANGES[field][1] == 1)


@pytest.mark.parametrize('field', ['data.std'])
@pytest.mark.parametrize('value', [1e-300, -1.0, 0.0])
def test_a_deviation_that_makes_the_image_infinite_is_refused(field, value):
    with pytest.raises(InputError, match=f'config.{field} = .*at least 0.001'):
        checks.validate(with_value(field, (1.0, value, 1.0)))


def test_a_tuple_has_a_largest_length():
    boundaries = tuple(i / 10 for i in range(1, MAX_LENGTH + 2))
    checks.validate(with_value('schedule.boundaries_epochs', boundaries[:-1]))
    with pytest.raises(InputError, match=f'at most {MAX_LENGTH} numbers'):
        checks.validate(with_value('schedule.boundaries_epochs', boundaries))
    sizes = tuple((epoch, 8) for epoch in range(MAX_LENGTH + 1))
    with pytest.raises(InputError, match=f'at most {MAX_LENGTH} numbers'):
        config = with_value('data.size_schedule', sizes)
        config.data.augmentation = 'crop_mirror'
        checks.validate(config)


def test_images_of_a_size_schedule_are_as_large_as_others_can_be():
    config = with_value('data.size_schedule', ((0, 5000),))
    config.data.augmentation = 'crop_mirror'
    with pytest.raises(InputError, match='sizes of at least 1 px and at most 4096 px'):
        checks.validate(config)


@pytest.mark.parametrize(
    ('name', 'fields'),
    [
        ('exponential', {'schedule__factor': 10.0, 'num_epochs': 39}),
        ('exponential', {'schedule__factor': 2.0, 'num_epochs': 100_000}),
        ('exponential', {'optimizer__learning_rate': 1e30, 'schedule__factor': 1.5}),
        ('step', {'schedule__factor': 1000.0, 'schedule__boundaries_epochs': tuple(range(1, 20))}),
    ],
)
def test_a_learning_rate_that_grows_beyond_float32_is_refused(name, fields):
    fields = {'num_epochs': 100} | fields
    with pytest.raises(InputError, match='config.schedule.factor = .*smaller factor'):
        checks.validate(digits_config(schedule__name=name, **fields))
    checks.validate(digits_config(schedule__name='constant', **fields))
    checks.validate(digits_config(schedule__name=name, **fields | {'schedule__factor': 0.5}))


def test_a_run_has_as_many_steps_as_fit_int32():
    config = load('resnet18')
    config.num_epochs = 1676
    checks.validate_num_steps(config, 1_281_167)
    config.num_epochs = 1677
    with pytest.raises(
        InputError, match=r'config.num_epochs = 1677: expected at most 1676.*2\*\*31'
    ):
        checks.validate_num_steps(config, 1_281_167)


def test_the_deep_stem_of_timm_needs_two_channels():
    fields = {'model__variant': 'timm_d', 'model__stem': 'imagenet'}
    with pytest.raises(InputError, match='config.model.width = 1: expected at least 2'):
        checks.validate(digits_config(**fields, model__width=1))
    checks.validate(digits_config(**fields, model__width=2))
    checks.validate(digits_config(**fields | {'model__stem': 'cifar'}, model__width=1))


@pytest.mark.parametrize('seed', RANGES['seed'])
def test_every_seed_gives_batches_and_weights(tiny_config, seed):
    tiny_config.seed, tiny_config.num_epochs = seed, 2
    source = registry.load_source(tiny_config, 'train')
    batches = list(pipeline.train_batches(source, tiny_config, start_step=10))
    assert [len(set(batch['id'].tolist())) for batch in batches] == [128] * 12
    model = resnet.create_model(tiny_config, 10)
    variables = initialization.init_variables(model, 8, seed=seed, kernel_init='he_fan_out')
    assert np.isfinite(variables['params']['stem']['conv']['kernel']).all()


@pytest.mark.parametrize('name', [path.stem for path in CONFIGS])
def test_every_config_is_far_from_the_upper_limits(name):
    limited = ('data.max_skipped_fraction',)  # a share
    close_to_1 = ('optimizer.momentum', 'model.batch_norm_momentum', 'ema_decay', 'label_smoothing')
    for field, value in schema.flatten(load(name)).items():
        if field in RANGES and field not in (*limited, *close_to_1):
            numbers = np.ravel(value)
            assert (2 * numbers <= RANGES[field][1]).all(), field
