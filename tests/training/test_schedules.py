"""Learning-rate schedules: the rate at the steps where it changes."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from resnet_jax.config import schema
from resnet_jax.training.schedules import make_schedule, unreached_boundaries

STEPS = 5004  # ImageNet's steps an epoch at batch 256


def make_config(name, **fields):
    config = schema.get_config()
    config.schedule.name = name
    config.update_from_flattened_dict({key.replace('__', '.'): v for key, v in fields.items()})
    return config


def load_config(name):
    path = Path(__file__).parents[2] / 'configs' / f'{name}.py'
    return runpy.run_path(str(path))['get_config']()


def test_the_experiment_drops_three_times_by_ten():
    schedule = make_schedule(load_config('resnet18'), STEPS)
    expected = [0.1] * 10 + [0.01] * 10 + [0.001] * 7 + [0.0001] * 3
    assert len(expected) == 30
    for epoch, rate in enumerate(expected):
        for step in (epoch * STEPS, epoch * STEPS + 1, (epoch + 1) * STEPS - 1):
            assert float(schedule(step)) == pytest.approx(rate, rel=1e-6)


# 0.1 * 0.94**epoch
BLOG = """
0.1 0.094 0.08836 0.0830584 0.0780749 0.0733904 0.0689870 0.0648478 0.0609569 0.0572995
0.0538615 0.0506298 0.0475920 0.0447365 0.0420523 0.0395292 0.0371574 0.0349280 0.0328323
0.0308624 0.0290106 0.0272700 0.0256338 0.0240958 0.0226500 0.0212910 0.0200135 0.0188127
0.0176840 0.0166229
"""


def test_the_recipe_of_2016_falls_by_six_percent_an_epoch():
    schedule = make_schedule(load_config('resnet18_blog2016'), 8896)
    expected = [float(rate) for rate in BLOG.split()]
    assert len(expected) == 30
    for epoch, rate in enumerate(expected):
        for step in (epoch * 8896, epoch * 8896 + 1, (epoch + 1) * 8896 - 1):
            assert float(schedule(step)) == pytest.approx(rate, rel=5e-6)


@pytest.mark.parametrize(
    ('step', 'rate'),
    [(0, 0.4), (5, 0.4 * 0.9755283), (25, 0.4 * 0.5), (49, 0.4 * 0.0009866), (50, 0), (60, 0)],
)
def test_cosine_falls_from_the_rate_to_zero(step, rate):
    config = make_config('cosine', num_epochs=5, optimizer__learning_rate=0.4)
    assert float(make_schedule(config, 10)(step)) == pytest.approx(rate, rel=1e-4, abs=1e-9)


def test_constant_does_not_change():
    schedule = make_schedule(make_config('constant'), 10)
    assert {float(schedule(step)) for step in (0, 1, 299, 300, 10**6)} == {float(np.float32(0.1))}


@pytest.mark.parametrize(
    ('name', 'fields', 'rates_after'),
    [
        ('step', {'schedule__boundaries_epochs': (2, 3)}, {19: 0.1, 20: 0.01, 29: 0.01, 30: 1e-3}),
        # A boundary in the warm-up: half of the warm-up, a tenth of the rate.
        ('step', {'schedule__boundaries_epochs': (0.5,)}, {4: 0.05, 5: 0.006, 10: 0.01}),
        ('exponential', {'schedule__factor': 0.5}, {10: 0.05, 19: 0.05, 20: 0.025}),
        ('constant', {}, {10: 0.1, 49: 0.1}),
        # Forty steps of cosine after ten of warm-up.
        ('cosine', {'num_epochs': 5}, {10: 0.1, 20: 0.08535534, 30: 0.05, 50: 0}),
    ],
)
def test_warm_up_rises_by_equal_steps_to_the_rate(name, fields, rates_after):
    config = make_config(name, schedule__warmup_epochs=1.0, **fields)
    schedule = make_schedule(config, 10)
    for step in range(5 if 0.5 in config.schedule.boundaries_epochs else 10):
        assert float(schedule(step)) == pytest.approx(0.01 * (step + 1), rel=1e-6)
    for step, rate in rates_after.items():
        assert float(schedule(step)) == pytest.approx(rate, rel=1e-5, abs=1e-9)


def test_fractions_of_an_epoch_are_rounded_to_steps():
    config = make_config('step', schedule__boundaries_epochs=(1.5,), schedule__warmup_epochs=0.25)
    schedule = make_schedule(config, 11)  # warm-up 2.75 -> 3 steps, boundary 16.5 -> 16
    rates = [float(schedule(step)) for step in (0, 1, 2, 3, 15, 16)]
    assert rates == pytest.approx([0.1 / 3, 0.2 / 3, 0.1, 0.1, 0.1, 0.01], rel=1e-6)


def test_rates_are_float32():
    for name in ('step', 'exponential', 'cosine', 'constant'):
        assert make_schedule(make_config(name), 10)(3).dtype == np.float32


@pytest.mark.parametrize(
    ('name', 'num_epochs', 'expected'),
    [
        ('step', 30, ()),
        ('step', 28, ()),
        ('step', 27, (27,)),
        ('step', 20, (20, 27)),
        ('step', 1, (10, 20, 27)),
        ('cosine', 1, ()),
    ],
)
def test_boundaries_without_effect_are_returned(name, num_epochs, expected):
    assert unreached_boundaries(make_config(name, num_epochs=num_epochs)) == expected
