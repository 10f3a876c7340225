"""Which config fields can change when a run is continued."""

import pytest
from support.configs import digits_config

from resnet_jax.config.changes import differences


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('num_devices', 2),
        ('log_every_steps', 5),
        ('evaluate_every_epochs', 2),
        ('checkpoint_every_epochs', 2),
        ('keep_checkpoints', 0),
        ('data__dir', 'elsewhere'),
        ('data__num_threads', 2),
        ('data__prefetch_batches', 5),
        ('best_metric', 'top5'),
    ],
)
def test_a_continued_run_may_change(field, value):
    free, locked = differences(digits_config(), digits_config(**{field: value}))
    assert list(free) == [field.replace('__', '.')]
    assert free[field.replace('__', '.')][1] == value
    assert locked == {}


@pytest.mark.parametrize(
    ('field', 'old', 'new'),
    [
        ('seed', 0, 1),
        ('batch_size', 128, 64),
        ('initial_head', 'auto', 'new'),
        ('model.depth', 18, 34),
        ('model.dtype', 'float32', 'bfloat16'),
        ('data.mean', (77.9, 77.9, 77.9), (0.0, 0.0, 0.0)),
        ('data.shuffle_group_files', 8, 16),
        ('optimizer.learning_rate', 0.1, 0.2),
        ('schedule.boundaries_epochs', (10, 15), (10,)),
    ],
)
def test_a_continued_run_may_not_change(field, old, new):
    before, after = (digits_config(**{field.replace('.', '__'): value}) for value in (old, new))
    assert differences(before, after) == ({}, {field: (old, new)})


def test_equal_configs_do_not_differ():
    assert differences(digits_config(), digits_config()) == ({}, {})


@pytest.mark.parametrize('name', ['step', 'exponential', 'constant'])
def test_the_number_of_epochs_can_only_increase(name):
    short, long = (digits_config(schedule__name=name, num_epochs=n) for n in (20, 30))
    assert differences(short, long) == ({'num_epochs': (20, 30)}, {})
    assert differences(long, short) == ({}, {'num_epochs': (30, 20)})


def test_the_number_of_epochs_stays_if_the_learning_rates_depend_on_it():
    short, long = (digits_config(schedule__name='cosine', num_epochs=n) for n in (20, 30))
    assert differences(short, long) == ({}, {'num_epochs': (20, 30)})
