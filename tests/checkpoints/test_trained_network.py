"""Loading of a network while a training replaces the checkpoints."""

import io
import shutil

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from resnet_jax.checkpoints import reading, selection, trained_network
from resnet_jax.checkpoints.trained_network import load_trained_network
from resnet_jax.config import data_sets, schema
from resnet_jax.console.signals import StopRequest
from resnet_jax.console.terminal import Terminal
from resnet_jax.devices import parallel
from resnet_jax.errors import InputError
from resnet_jax.storage.workdir import Workdir
from resnet_jax.training import loop

SHARDING = parallel.replicated(Mesh(np.array(jax.devices()[:1]), (parallel.AXIS,)))


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """Returns the folder of a run with the checkpoints 5, 10 and 15."""
    folder = tmp_path_factory.mktemp('whole') / 'run'
    config = data_sets.use_data(schema.get_config(), 'digits')
    config.update_from_flattened_dict(
        {
            'num_epochs': 3,
            'batch_size': 256,
            'model.depth': 8,
            'model.width': 4,
            'keep_checkpoints': 0,
            'schedule.name': 'constant',
            'schedule.warmup_epochs': 0.0,
        }
    )
    loop.train(config, folder, Terminal(io.StringIO()), StopRequest())
    return folder


@pytest.fixture
def training(whole, tmp_path):
    """Returns a run at step 5, and a function that does what a training does with an epoch.

    The function saves the next checkpoint and deletes the one before.
    """
    folder = shutil.copytree(whole, tmp_path / 'run')
    later = [shutil.move(folder / 'checkpoints' / step, tmp_path) for step in ('10', '15')]

    def train_an_epoch():
        if later:
            [old] = (folder / 'checkpoints').iterdir()
            shutil.move(later.pop(0), folder / 'checkpoints')
            shutil.rmtree(old)

    return folder, train_an_epoch


def call_before(owner, name, function, monkeypatch):
    real = getattr(owner, name)

    def replacement(*arguments):
        function()
        return real(*arguments)

    monkeypatch.setattr(owner, name, replacement)


@pytest.mark.parametrize('checkpoint', ['latest', 'best'])
@pytest.mark.parametrize(
    ('owner', 'name'), [(selection, 'read_metadata'), (reading, 'read_arrays')]
)
def test_a_name_is_resolved_again_if_its_checkpoint_was_deleted(
    owner, name, checkpoint, training, monkeypatch, caplog
):
    folder, train_an_epoch = training
    call_before(owner, name, train_an_epoch, monkeypatch)
    trained = load_trained_network(Workdir(folder), checkpoint, SHARDING)
    assert trained.step == 15
    assert caplog.text == ''


@pytest.mark.parametrize('checkpoint', [5, '5'])
def test_a_step_that_was_deleted_is_an_error(checkpoint, training, monkeypatch):
    folder, train_an_epoch = training
    call_before(reading, 'read_arrays', train_an_epoch, monkeypatch)
    with pytest.raises(InputError, match='/5: expected a whole checkpoint'):
        load_trained_network(Workdir(folder), checkpoint, SHARDING)


def test_an_epoch_that_was_deleted_is_an_error_that_lists_what_there_is(training, monkeypatch):
    folder, train_an_epoch = training
    call_before(reading, 'read_arrays', train_an_epoch, monkeypatch)
    with pytest.raises(InputError, match=r"'epoch:1'.* found these steps: 10 \(epoch 2\)"):
        load_trained_network(Workdir(folder), 'epoch:1', SHARDING)


def test_the_number_of_tries_is_bounded(training, monkeypatch):
    folder, train_an_epoch = training
    monkeypatch.setattr(trained_network, '_MAX_TRIES', 2)
    call_before(reading, 'read_arrays', train_an_epoch, monkeypatch)
    with pytest.raises(InputError, match='/10: expected a whole checkpoint'):
        load_trained_network(Workdir(folder), 'latest', SHARDING)


def test_a_damaged_checkpoint_is_read_once(training, monkeypatch):
    folder, _ = training
    for path in (folder / 'checkpoints' / '5' / 'state').rglob('d/*'):
        path.write_bytes(b'')
    num_reads = []
    call_before(reading, 'read_arrays', lambda: num_reads.append(1), monkeypatch)
    with pytest.raises(InputError, match='/5: expected a whole checkpoint'):
        load_trained_network(Workdir(folder), 'latest', SHARDING)
    assert len(num_reads) == 1
