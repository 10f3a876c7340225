"""Training from imported weights: a new head, a frozen backbone, the real ResNet-20."""

import io
import logging

import jax
import numpy as np
import PIL.Image
import pytest
from flax import traverse_util
from support import weight_files
from support.running import assert_same_state, read_rows, read_state

import resnet_jax
from resnet_jax.config import data_sets, schema
from resnet_jax.console.signals import StopRequest
from resnet_jax.console.terminal import Terminal
from resnet_jax.errors import InputError
from resnet_jax.training import imported_run, loop
from resnet_jax.weights import published

pytestmark = pytest.mark.slow


def make_config(initial_weights, **fields):
    """Returns a config for digits: five steps an epoch, the 8-layer network of `backbone`."""
    config = data_sets.use_data(schema.get_config(), 'digits')
    config.update_from_flattened_dict(
        {
            'num_epochs': 2,
            'batch_size': 256,
            'initial_weights': str(initial_weights),
            'model.depth': 8,
            'model.width': 4,
            'model.variant': 'gluoncv_cifar',
            'optimizer.learning_rate': 0.2,
            'schedule.name': 'constant',
            'ema_decay': 0.0,
            'model.batch_norm_momentum': 0.9,
            'schedule.warmup_epochs': 0.0,
        }
        | {name.replace('__', '.'): value for name, value in fields.items()}
    )
    return config


FROZEN = {
    'optimizer__frozen': 'backbone',
    'optimizer__weight_decay': 0.01,
    'optimizer__decay_all_parameters': True,
    'ema_decay': 0.97,
}


def train(folder, config):
    loop.train(config, folder, Terminal(io.StringIO()), StopRequest())


@pytest.fixture(scope='module')
def backbone(tmp_path_factory):
    """Run at step 0 with random weights and statistics for seven classes."""
    folder = tmp_path_factory.mktemp('runs') / 'imported'
    config = make_config('', model__num_classes=7)
    variables = weight_files.random_variables(
        weight_files.make_model(8, 'gluoncv_cifar', num_classes=7)
    )
    variables = traverse_util.unflatten_dict(variables)
    imported_run.write_run(folder, config, 'abcdefg', variables, {})
    return folder


@pytest.fixture(scope='module')
def frozen(backbone, tmp_path_factory):
    """Run of two epochs with a frozen backbone, and all options that could change the backbone."""
    folder = tmp_path_factory.mktemp('runs') / 'frozen'
    train(folder, make_config(backbone, **FROZEN))
    return folder


def test_a_frozen_backbone_keeps_every_bit_and_its_statistics(backbone, frozen):
    before, after = read_state(backbone, 0), read_state(frozen, 10)
    for prefix in ('', 'ema_'):
        params, batch_stats = after[f'{prefix}params'], after[f'{prefix}batch_stats']
        for part in before['params'].keys() - {'head'}:
            jax.tree.map(np.testing.assert_array_equal, before['params'][part], params[part])
        jax.tree.map(np.testing.assert_array_equal, before['batch_stats'], batch_stats)


def test_the_head_alone_learns(frozen):
    first, last = (float(row['validation_loss']) for row in read_rows(frozen))
    assert last < first
    assert read_state(frozen, 10)['params']['head']['kernel'].shape == (16, 10)


def test_a_frozen_run_continues_as_if_it_had_not_stopped(backbone, frozen, tmp_path):
    for num_epochs in (1, 2):
        train(tmp_path / 'run', make_config(backbone, **FROZEN, num_epochs=num_epochs))
    assert_same_state(tmp_path / 'run', frozen, 10)


def test_another_number_of_classes_re_initialises_the_head_and_logs_it(backbone, tmp_path, caplog):
    tiny = {'num_epochs': 1, 'optimizer__learning_rate': 1e-12, 'optimizer__nesterov': False}
    with caplog.at_level(logging.INFO, logger='absl'):
        train(tmp_path / 'run', make_config(backbone, **tiny))
    assert f'the head is re-initialised: 10 classes here, 7 in {backbone}' in caplog.text
    before, after = read_state(backbone, 0)['params'], read_state(tmp_path / 'run', 5)['params']
    np.testing.assert_allclose(
        after['stem']['conv']['kernel'], before['stem']['conv']['kernel'], rtol=0, atol=1e-7
    )
    assert after['head']['kernel'].shape == (16, 10)
    assert 0.005 < np.std(after['head']['kernel']) < 0.02  # drawn with a deviation of 0.01
    assert 'config.data.mean' not in caplog.text


def test_the_same_number_of_classes_keeps_the_head(backbone, tmp_path, caplog):
    tiny = {'num_epochs': 1, 'optimizer__learning_rate': 1e-12, 'optimizer__nesterov': False}
    with caplog.at_level(logging.INFO, logger='absl'):
        config = make_config(tmp_path / 'ten', **tiny, data__std=(1.0, 2.0, 3.0))
        variables = weight_files.random_variables(
            weight_files.make_model(8, 'gluoncv_cifar', num_classes=10)
        )
        imported_run.write_run(
            tmp_path / 'ten',
            make_config(''),
            '0123456789',
            traverse_util.unflatten_dict(variables),
            {},
        )
        train(tmp_path / 'run', config)
    after = read_state(tmp_path / 'run', 5)['params']['head']['kernel']
    before = variables['params', 'head', 'kernel']
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-7)
    assert 're-initialised' not in caplog.text
    assert 'config.data.std = (1.0, 2.0, 3.0)' in caplog.text


def test_weights_of_another_variant_are_refused_though_their_arrays_fit(backbone, tmp_path):
    config = make_config(backbone, model__variant='gluoncv')
    with pytest.raises(InputError, match="variant = 'gluoncv': expected 'gluoncv_cifar'"):
        train(tmp_path / 'run', config)
    assert not (tmp_path / 'run' / 'config.json').exists()


@pytest.fixture(scope='module')
def cifar_folder(shared_data, tmp_path_factory):
    """Folder of classes with 600 images, which are used for training and validation."""
    folder = tmp_path_factory.mktemp('cifar')
    data = np.load(shared_data / 'cifar10_train_4000.npz')
    images, labels = data['image'], data['label']
    for i in range(600):
        path = folder / 'train' / published.CIFAR10_NAMES[labels[i]] / f'{i:04d}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(images[i]).save(path)
    return folder


@pytest.mark.slow
def test_one_epoch_lowers_the_loss_of_the_real_resnet20(shared_data, cifar_folder, tmp_path):
    config = data_sets.use_data(schema.get_config(), 'cifar10')
    config.update_from_flattened_dict(
        {
            'model.depth': 20,
            'model.width': 16,
            'model.variant': 'gluoncv_cifar',
            'model.dtype': 'float32',
            'data.source': 'folder',
            'data.dir': str(cifar_folder),
            'data.validation_split': 'train',
            'batch_size': 120,
            'num_epochs': 1,
            'optimizer.learning_rate': 0.002,
            'schedule.name': 'constant',
        }
    )
    weights = shared_data / 'gluoncv' / 'cifar_resnet20_v2-0000.params'
    imported_run.import_weights('mxnet', weights, tmp_path / 'imported', config)
    before = resnet_jax.Run(tmp_path / 'imported').evaluate()
    assert (before.num_examples, before.step) == (600, 0)
    assert before.top1 > 0.97
    config.initial_weights = str(tmp_path / 'imported')
    train(tmp_path / 'tuned', config)
    after = resnet_jax.Run(tmp_path / 'tuned').evaluate()
    assert after.step == 5
    assert after.loss < before.loss
