"""Imported weights give the same logits as in the framework in which they were trained."""

import functools

import h5py
import jax
import numpy as np
import pytest
from support import weight_files
from support.paths import FIXTURES

from resnet_jax.models import resnet
from resnet_jax.weights import importing

TIMM = FIXTURES / 'timm'


def load(file_format, path):
    return importing.load_weights(file_format, path.read_bytes(), where=str(path))


def compute_logits(imported, images):
    model = resnet.create_model(imported.config, len(imported.class_names))
    return jax.jit(functools.partial(model.apply, train=False))(imported.variables, images)


def assert_near(logits, expected, tolerance=1e-4):
    assert logits.shape == expected.shape
    scale = np.abs(expected).max()
    assert (
        np.ptp(expected, axis=0).max() > 100 * tolerance * scale
    )  # the logits depend on the images
    np.testing.assert_allclose(logits, expected, rtol=0, atol=tolerance * scale)


def test_gluoncv_s_trained_cifar_resnet20_gives_its_logits_and_accuracy(shared_data):
    imported = load('mxnet', shared_data / 'gluoncv' / 'cifar_resnet20_v2-0000.params')
    stored = np.load(shared_data / 'gluoncv' / 'cifar_resnet20_v2-train8-logits.npz')
    data = np.load(shared_data / 'cifar10_train_4000.npz')
    logits = compute_logits(imported, data['image'][:1000])
    np.testing.assert_allclose(logits[:8], stored['logits'], rtol=0, atol=1e-3)
    assert np.mean(np.argmax(logits, axis=-1) == data['label'][:1000]) == 0.98


@pytest.mark.parametrize(
    ('name', 'depth', 'variant'),
    [('basic', 8, 'timm'), ('bottleneck', 11, 'timm'), ('basic_d', 8, 'timm_d')],
)
def test_timm_s_networks_give_their_logits(name, depth, variant):
    imported = load('timm', TIMM / f'{name}.safetensors')
    assert (imported.config.model.depth, imported.config.model.variant) == (depth, variant)
    stored = np.load(TIMM / f'{name}.npz')
    assert_near(compute_logits(imported, stored['images']), stored['logits'])


def assert_same_as_keras(model, size, paths):
    from keras.applications.resnet_v2 import preprocess_input

    images = np.random.default_rng(1).integers(0, 256, (2, size, size, 3), np.uint8)
    images[0] //= 3
    expected = np.asarray(model(preprocess_input(images.astype('f')), training=False))
    for path in paths:
        (model.save_weights if '.weights' in path.name else model.save)(path)
        imported = load('keras', path)
        assert imported.config.model.variant == 'keras'
        assert_near(compute_logits(imported, images), expected)
    return imported


@pytest.mark.parametrize('size', [64, 75])
def test_keras_s_network_gives_its_logits_from_each_kind_of_file(tmp_path, size):
    model = weight_files.keras_resnet_v2(4, (3, 3, 3), 5)
    paths = [tmp_path / name for name in ('a.weights.h5', 'a.keras', 'a.h5')]
    imported = assert_same_as_keras(model, size, paths)
    assert (imported.config.model.depth, imported.config.model.width) == (29, 4)


def test_keras_2_s_names_are_those_of_keras_3_with_a_number(tmp_path):
    model = weight_files.keras_resnet_v2(4, (3, 3, 3), 5)
    model.save(tmp_path / 'three.h5')
    with h5py.File(tmp_path / 'three.h5') as new, h5py.File(tmp_path / 'two.h5', 'w') as old:
        for layer, group in new['model_weights'].items():
            for name, array in group.get(layer, {}).items():
                old[f'{layer}/{layer}/{name}:0'] = array[()]
    keras_3, keras_2 = (load('keras', tmp_path / name) for name in ('three.h5', 'two.h5'))
    jax.tree.map(np.testing.assert_array_equal, keras_3.variables, keras_2.variables)


@pytest.mark.slow
@pytest.mark.parametrize('depth', [50, 101, 152])
def test_keras_s_networks_give_their_logits_at_full_size(tmp_path, depth):
    import keras

    keras.utils.set_random_seed(0)
    make = getattr(keras.applications, f'ResNet{depth}V2')
    model = make(weights=None, classifier_activation=None)
    weight_files.randomise(model)
    imported = assert_same_as_keras(model, 224, [tmp_path / 'a.weights.h5'])
    assert imported.config.model.depth == depth
    assert len(imported.class_names) == 1000
