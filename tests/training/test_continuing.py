"""What a continued run can change, and what the log says about it."""

import logging

import jax
import numpy as np
import pytest
from jax.sharding import Mesh
from support.configs import digits_config

from resnet_jax.config.schema import flatten
from resnet_jax.devices import parallel
from resnet_jax.errors import InputError
from resnet_jax.storage.workdir import Workdir
from resnet_jax.training.continuing import (
    keep_best_metric,
    require_same_run,
    warn_of_other_devices,
)


@pytest.fixture
def workdir(tmp_path):
    workdir = Workdir(tmp_path / 'run')
    workdir.create()
    return workdir


def test_more_epochs_under_a_cosine_are_refused_with_the_reason_and_the_remedy(workdir):
    workdir.write_config(digits_config(schedule__name='cosine'))
    with pytest.raises(InputError) as refusal:
        require_same_run(digits_config(schedule__name='cosine', num_epochs=30), workdir)
    message = str(refusal.value)
    assert 'num_epochs: expected 20, found 30' in message
    assert 'The learning rates of a cosine schedule depend on num_epochs' in message
    assert f'start another run with --config.initial_weights={workdir.path}' in message


def test_more_epochs_are_allowed_where_the_learning_rates_do_not_depend_on_them(workdir, caplog):
    workdir.write_config(digits_config())
    with caplog.at_level(logging.INFO, logger='absl'):
        assert require_same_run(digits_config(num_epochs=30), workdir)
    assert 'config.num_epochs is now 30, was 20' in caplog.text


def warnings_of(workdir, caplog, num_devices, **fields):
    mesh = Mesh(np.array(jax.devices()[:num_devices]), (parallel.AXIS,))
    caplog.clear()
    warn_of_other_devices(digits_config(**fields), workdir, mesh)
    return [record.message for record in caplog.records]


def test_other_devices_under_batch_norm_of_each_device_are_named(workdir, caplog):
    workdir.write_environment({'devices': ['cpu:0', 'cpu:1', 'cpu:2', 'cpu:3']})
    [warning] = warnings_of(workdir, caplog, 1)
    assert 'continues on 1 device instead of 4' in warning
    assert 'statistics over 128 images instead of 32' in warning
    assert 'sync_batch_norm is False' in warning
    [warning] = warnings_of(workdir, caplog, 2, optimizer__accumulate_steps=4)
    assert 'continues on 2 devices instead of 4' in warning
    assert 'statistics over 16 images instead of 8' in warning
    assert warnings_of(workdir, caplog, 4) == []
    assert warnings_of(workdir, caplog, 2, model__sync_batch_norm=True) == []
    assert warnings_of(workdir, caplog, 2, optimizer__frozen='backbone') == []


@pytest.mark.parametrize('environment', [{}, {'devices': []}, {'devices': 4}])
def test_an_environment_without_devices_gives_no_warning(workdir, caplog, environment):
    workdir.write_environment(environment)
    assert warnings_of(workdir, caplog, 2) == []


def test_the_best_metric_of_the_run_takes_the_place_of_auto(workdir):
    assert keep_best_metric(digits_config(), workdir).best_metric == 'auto'  # a new run
    workdir.write_config(digits_config(best_metric='top5'))
    kept = keep_best_metric(digits_config(), workdir)
    assert flatten(kept) == flatten(digits_config(best_metric='top5'))
    assert keep_best_metric(digits_config(best_metric='top1'), workdir).best_metric == 'top1'
