"""The head of a run that starts from another run's weights: kept, reordered or re-initialised."""

import logging

import jax
import numpy as np
import pytest
from flax import traverse_util
from support import weight_files
from support.configs import digits_config

from resnet_jax.errors import InputError
from resnet_jax.models import resnet
from resnet_jax.training import imported_run
from resnet_jax.training.initial_weights import read_initial_weights

ANIMALS = ('bee', 'cat', 'dog', 'eel')


def make_config(initial_weights='', **fields):
    tiny = {'model__depth': 8, 'model__width': 4, 'ema_decay': 0.0}
    return digits_config(initial_weights=str(initial_weights), **tiny, **fields)


@pytest.fixture(scope='module')
def animals(tmp_path_factory):
    """Run at step 0 with random weights for four classes."""
    folder = tmp_path_factory.mktemp('runs') / 'animals'
    model = resnet.create_model(make_config(), len(ANIMALS))
    variables = traverse_util.unflatten_dict(weight_files.random_variables(model))
    imported_run.write_run(folder, make_config(), ANIMALS, variables, {})
    return folder, variables['params']


def read(folder, class_names, caplog, **fields):
    """Returns the parameters for a run on these classes, and the lines of the log."""
    config = make_config(folder, **fields)
    model = resnet.create_model(config, len(class_names))
    caplog.clear()
    with caplog.at_level(logging.INFO, logger='absl'):
        variables = read_initial_weights(config, model, class_names, jax.devices()[0])
    return variables['params'], [record.message for record in caplog.records]


def assert_backbone(params, trained):
    for part in trained.keys() - {'head'}:
        jax.tree.map(np.testing.assert_array_equal, params[part], trained[part])


def assert_new_head(params, num_classes):
    kernel = np.asarray(params['head']['kernel'])
    assert kernel.shape[-1] == num_classes
    assert 0.005 < np.std(kernel) < 0.02  # drawn with a deviation of 0.01
    np.testing.assert_array_equal(params['head']['bias'], np.zeros(num_classes))


def test_the_same_classes_keep_the_head(animals, caplog):
    folder, trained = animals
    params, log = read(folder, ANIMALS, caplog)
    jax.tree.map(np.testing.assert_array_equal, dict(params), trained)
    assert f'the head is kept: {folder} has the same classes' in log


def test_the_same_classes_in_another_order_reorder_the_head(animals, caplog):
    folder, trained = animals
    names = ('dog', 'bee', 'eel', 'cat')
    params, log = read(folder, names, caplog)
    assert_backbone(params, trained)
    for index, name in enumerate(names):
        for array in ('kernel', 'bias'):
            np.testing.assert_array_equal(
                params['head'][array][..., index],
                trained['head'][array][..., ANIMALS.index(name)],
            )
    assert f'the head is reordered: {folder} has the same classes in another order' in log


def test_as_many_but_other_classes_re_initialise_the_head(animals, caplog):
    folder, trained = animals
    params, log = read(folder, ('bee', 'cat', 'dog', 'yak'), caplog)
    assert_backbone(params, trained)
    assert_new_head(params, 4)
    [line] = [line for line in log if line.startswith('the head is re-initialised: ')]
    assert 'not those in' in line
    assert "'yak' and 'eel' at index 3" in line
    assert "config.initial_head = 'keep' keeps it" in line


def test_another_number_of_classes_re_initialises_the_head(animals, caplog):
    folder, trained = animals
    params, log = read(folder, ANIMALS[:3], caplog)
    assert_backbone(params, trained)
    assert_new_head(params, 3)
    assert f'the head is re-initialised: 3 classes here, 4 in {folder}' in log


@pytest.mark.parametrize('names', [ANIMALS, ('ant', 'fly', 'dog', 'bee')])
def test_a_head_can_be_kept_whatever_the_classes(animals, names, caplog):
    folder, trained = animals
    params, log = read(folder, names, caplog, initial_head='keep')
    jax.tree.map(np.testing.assert_array_equal, dict(params), trained)
    assert "the head is kept: config.initial_head is 'keep'" in log


def test_a_head_of_another_number_of_classes_cannot_be_kept(animals, caplog):
    folder, _ = animals
    with pytest.raises(InputError, match="config.initial_head = 'keep': .*is 4, found 3.*'new'"):
        read(folder, ANIMALS[:3], caplog, initial_head='keep')


def test_a_head_can_be_new_though_the_classes_are_the_same(animals, caplog):
    folder, trained = animals
    params, log = read(folder, ANIMALS, caplog, initial_head='new')
    assert_backbone(params, trained)
    assert_new_head(params, 4)
    assert "the head is re-initialised: config.initial_head is 'new'" in log


def test_logits_without_a_class_keep_their_position(tmp_path, caplog):
    config = make_config(model__num_classes=6)
    model = resnet.create_model(config, 4)
    trained = traverse_util.unflatten_dict(weight_files.random_variables(model))
    imported_run.write_run(tmp_path / 'run', config, ANIMALS, trained, {})
    params, _ = read(tmp_path / 'run', ANIMALS[::-1], caplog, model__num_classes=6)
    for array in ('kernel', 'bias'):
        expected = trained['params']['head'][array][..., [3, 2, 1, 0, 4, 5]]
        np.testing.assert_array_equal(params['head'][array], expected)


def test_the_path_can_begin_with_the_home_folder(animals, caplog, monkeypatch):
    folder, trained = animals
    monkeypatch.setenv('HOME', str(folder.parent))
    params, _ = read('~/animals', ANIMALS, caplog)
    jax.tree.map(np.testing.assert_array_equal, dict(params), trained)
