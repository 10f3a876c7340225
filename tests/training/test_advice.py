"""Warnings at the start of a run about settings that are probably not intended."""

import logging

import pytest
from support.configs import digits_config

from resnet_jax.console.signals import StopRequest
from resnet_jax.devices import backend
from resnet_jax.storage.workdir import Workdir
from resnet_jax.training.advice import list_warnings
from resnet_jax.training.setup import prepare_job, write_description


def warnings_of(num_examples=4000, steps_per_epoch=31, **fields):
    config = digits_config(schedule__boundaries_epochs=(10, 15), **fields)
    return list_warnings(config, num_examples, steps_per_epoch)


def test_a_usual_run_gets_no_warning():
    assert warnings_of() == []


def test_boundaries_that_round_to_the_same_step_are_named():
    config = digits_config(schedule__boundaries_epochs=(10, 10.01, 15))
    [warning] = list_warnings(config, 4000, 31)
    assert 'boundaries_epochs: 10 and 10.01 are both step 310' in warning
    assert list_warnings(config, 400_000, 3100) == []


@pytest.mark.parametrize(
    ('num_epochs', 'expected'),
    [
        (10, '10, 15 have no effect in a run of 10 epochs'),
        (15, '15 has no effect in a run of 15 epochs'),
        (1, '10, 15 have no effect in a run of 1 epoch'),
    ],
)
def test_boundaries_after_the_end_are_named(num_epochs, expected):
    [warning] = warnings_of(num_epochs=num_epochs, schedule__warmup_epochs=0.0)
    assert warning == f'config.schedule.boundaries_epochs: {expected}'


def test_a_warm_up_longer_than_the_run_is_named():
    fields = {'schedule__name': 'constant', 'num_epochs': 3}
    [warning] = warnings_of(schedule__warmup_epochs=3.5, **fields)
    assert 'warmup_epochs = 3.5 is longer than a run of 3 epochs' in warning
    assert warnings_of(schedule__warmup_epochs=3.0, **fields) == []


def test_equal_training_and_validation_splits_are_named():
    [warning] = warnings_of(data__validation_split='train')
    assert "the same split, 'train'" in warning


@pytest.mark.parametrize(('steps', 'words'), [(1, 'only 1 step:'), (19, 'only 19 steps:')])
def test_an_epoch_of_few_steps_is_named(steps, words):
    [warning] = warnings_of(128 * steps, steps)
    assert words in warning
    assert 'smaller config.batch_size than 128' in warning
    assert warnings_of(128 * 20, 20) == []


def test_an_epoch_that_drops_more_than_a_tenth_of_the_examples_is_named():
    num_kept = 20 * 128
    assert warnings_of(num_kept + 127, 20) == []
    [warning] = warnings_of(3000, 20, batch_size=130)
    assert 'leaves out 400 of 3,000 examples' in warning
    assert warnings_of(3000, 30, batch_size=90) == []  # a tenth


def test_warnings_and_the_description_are_logged_once_with_singular_and_plural(tmp_path, caplog):
    fields = {'num_epochs': 1, 'model__depth': 8, 'model__width': 4, 'schedule__name': 'constant'}
    fields |= {'schedule__warmup_epochs': 0.0, 'ema_decay': 0.0}
    config = digits_config(batch_size=1437, num_devices=1, **fields)
    job = prepare_job(config, Workdir(tmp_path), backend.start_devices(1), StopRequest())
    with caplog.at_level(logging.INFO, logger='absl'):
        write_description(job)
    warnings = [record.message for record in caplog.records if record.levelname == 'WARNING']
    assert len(warnings) == 1
    assert warnings[0].startswith('an epoch has only 1 step:')
    assert 'digits: 1437 training examples, 10 classes; ' in caplog.text
    assert '; 1 epoch of 1 step of 1437 images on 1 device (cpu)' in caplog.text
    assert not any(phrase in caplog.text for phrase in ('1 epochs', '1 steps', '1 devices'))
