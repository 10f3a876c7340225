"""Checksums of single arrays: the damaged array is named, and only its readers fail."""

import io
import logging
import shutil

import jax
import numpy as np
import pytest
from jax.sharding import Mesh
from support.paths import FIXTURES

from resnet_jax.checkpoints import reading
from resnet_jax.checkpoints.trained_network import load_trained_network
from resnet_jax.config import data_sets, schema
from resnet_jax.console.signals import StopRequest
from resnet_jax.console.terminal import Terminal
from resnet_jax.devices import parallel
from resnet_jax.errors import InputError
from resnet_jax.models import resnet
from resnet_jax.run import Run
from resnet_jax.storage.workdir import Workdir
from resnet_jax.training import loop, optimizers, schedules
from resnet_jax.training.state import abstract_state

SHARDING = parallel.replicated(Mesh(np.array(jax.devices()[:1]), (parallel.AXIS,)))


def make_config(**fields):
    config = data_sets.use_data(schema.get_config(), 'digits')
    config.update_from_flattened_dict(
        {
            'num_epochs': 1,
            'batch_size': 256,  # five steps an epoch
            'model.depth': 8,
            'model.width': 4,
            'optimizer.momentum': 0.9,
            'schedule.name': 'constant',
            'schedule.warmup_epochs': 0.0,
        }
        | fields
    )
    return config


def train(folder, **fields):
    loop.train(make_config(**fields), folder, Terminal(io.StringIO()), StopRequest())


@pytest.fixture(scope='module', params=[0.0, 0.5], ids=['plain', 'averaged'])
def whole(request, tmp_path_factory):
    """Returns the config and the folder of a run with a checkpoint at step 5."""
    folder = tmp_path_factory.mktemp('whole') / 'run'
    train(folder, ema_decay=request.param)
    return make_config(ema_decay=request.param), folder


def restore(config, folder):
    optimizer = optimizers.make_optimizer(config, schedules.make_schedule(config, 5))
    expected = abstract_state(config, resnet.create_model(config, 10), optimizer)
    return reading.restore(folder / 'checkpoints', 5, expected, SHARDING)[0]


def load_variables(folder):
    return load_trained_network(Workdir(folder), 5, SHARDING).variables


def error_of(function, *arguments):
    """Returns the message of the error that a function raises; '' if it raises none."""
    try:
        function(*arguments)
    except InputError as error:
        return str(error)
    return ''


def damage(folder, prefix):
    """Replaces the first array whose name begins with a prefix; returns the name of the array."""
    stores = reading._open_stores(folder / 'checkpoints' / '5')
    name = next(name for name in stores if name.startswith(prefix))
    stores[name].write(stores[name].read().result() + 1).result()
    return name


def used_prefixes(config):
    averaged, raw = ('ema_params/', 'ema_batch_stats/'), ('params/', 'batch_stats/')
    return averaged if config.ema_decay else raw


PARTS = ('params/', 'batch_stats/', 'opt_state/', 'step')


@pytest.mark.parametrize(
    ('whole', 'part'),
    [(0.0, part) for part in PARTS] + [(0.5, part) for part in (*PARTS, 'ema_params/')],
    indirect=['whole'],
)
def test_a_damaged_array_is_named_and_stops_only_those_that_read_it(part, whole, tmp_path):
    config, folder = whole
    expected = load_variables(folder)
    folder = shutil.copytree(folder, tmp_path / 'run')
    name = damage(folder, part)
    place = f'{folder / "checkpoints" / "5"}: expected a whole checkpoint, found damage in {name}: '
    assert error_of(restore, config, folder).startswith(place)
    if part in used_prefixes(config):
        for use in (load_variables, lambda folder: Run(folder).predictor(5)):
            assert error_of(use, folder).startswith(place)
    else:
        jax.tree.map(np.testing.assert_array_equal, load_variables(folder), expected)


def test_a_flipped_byte_anywhere_is_blamed_on_the_right_arrays(whole, tmp_path):
    """Several arrays share a file, and some bytes of a file belong to none."""
    config, folder = whole
    expected = load_variables(folder)
    folder = shutil.copytree(folder, tmp_path / 'run')
    named = set()
    for path in sorted((folder / 'checkpoints' / '5' / 'state').rglob('d/*')):
        content = path.read_bytes()
        for position in range(0, len(content), max(len(content) // 6, 1)):
            damaged = bytearray(content)
            damaged[position] ^= 0x10
            path.write_bytes(damaged)
            message = error_of(restore, config, folder)
            _, _, names = message.partition(' found damage in ')
            names = set(names.split(': ')[0].split(', ')) - {''}
            used = sorted(name for name in names if name.startswith(used_prefixes(config)))
            assert (error_of(load_variables, folder) == '') == (
                not message or bool(names and not used)
            )
            if used:
                assert f'found damage in {", ".join(used)}: ' in error_of(load_variables, folder)
            elif names:
                jax.tree.map(np.testing.assert_array_equal, load_variables(folder), expected)
            named |= {name.split('/')[0] for name in names}
        path.write_bytes(content)
    assert {'opt_state', 'params'} <= named


def spy_on_reads(monkeypatch):
    names, read = set(), reading._read_stores

    def read_and_tell(path, stores):
        names.update(stores)
        return read(path, stores)

    monkeypatch.setattr(reading, '_read_stores', read_and_tell)
    return names


def test_prediction_evaluation_and_export_read_the_weights_that_they_use(
    whole, tmp_path, monkeypatch
):
    config, folder = whole
    names = spy_on_reads(monkeypatch)
    for use in (
        lambda run: run.predictor(),
        lambda run: run.evaluate(),
        lambda run: run.export(tmp_path / 'a.safetensors', file_format='safetensors'),
    ):
        names.clear()
        use(Run(folder))
        assert {name.split('/')[0] + '/' for name in names} == set(used_prefixes(config))


@pytest.mark.parametrize('part', ['metadata', 'metrics'])
@pytest.mark.parametrize(
    ('old', 'new'), [('"top1": 0.', '"top1": 0.0'), ('"step": 5', '"step": 6'), ('}', ' ')]
)
def test_a_change_of_metadata_or_scores_is_noticed_without_reading_arrays(
    part, old, new, whole, tmp_path
):
    folder = shutil.copytree(whole[1], tmp_path / 'run')
    path = folder / 'checkpoints' / '5' / part / part
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match='/5: expected'):
        reading.read_metadata(folder / 'checkpoints', 5)


def test_a_checksum_that_was_removed_or_added_is_noticed(whole, tmp_path, monkeypatch):
    folder = shutil.copytree(whole[1], tmp_path / 'run')
    compute = reading.compute_metadata_checksum
    for change in ({'params/other': 'abc'}, {'step': None}):

        def changed(metadata, checksums, change=change):
            checksum = compute(metadata, checksums)
            checksums |= change  # as if they had been written so
            for name in [name for name, value in checksums.items() if value is None]:
                del checksums[name]
            return checksum

        monkeypatch.setattr(reading, 'compute_metadata_checksum', changed)
        with pytest.raises(InputError, match=f'found none for {next(iter(change))}'):
            load_variables(folder)


def test_damaged_momentum_is_noticed_once_training_needs_it(whole, tmp_path, caplog):
    config, folder = whole
    folder = shutil.copytree(folder, tmp_path / 'run')
    name = damage(folder, 'opt_state/')
    with caplog.at_level(logging.INFO, logger='absl'):
        train(folder, ema_decay=config.ema_decay)
    assert 'complete' in caplog.text  # the weights are whole, and no step is left to train
    with pytest.raises(InputError, match=f'found damage in {name}'):
        train(folder, ema_decay=config.ema_decay, num_epochs=2)


OLD = FIXTURES / 'run_0_1_0'


def test_of_an_old_checkpoint_everything_is_read(monkeypatch):
    names = spy_on_reads(monkeypatch)
    load_trained_network(Workdir(OLD), 5, SHARDING)
    assert {name.split('/')[0] for name in names} == {
        *('step', 'params', 'batch_stats', 'opt_state', 'ema_params', 'ema_batch_stats')
    }


@pytest.mark.parametrize('part', ['params/', 'opt_state/', 'ema_params/', 'step'])
def test_any_damage_of_an_old_checkpoint_is_noticed(part, tmp_path):
    folder = shutil.copytree(OLD, tmp_path / 'run')
    damage(folder, part)
    with pytest.raises(InputError, match='/5: expected checksum c22f791d, found'):
        load_variables(folder)
