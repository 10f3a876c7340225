"""Evaluation of a whole split: each example counts once, however the batches are cut."""

import functools
import types

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from resnet_jax import base_config, parallel
from resnet_jax.data import sources
from resnet_jax.evaluation.evaluator import Evaluator
from resnet_jax.models import resnet


def make_config():
    config = base_config.use_data(base_config.get_config(), 'digits')
    config.model.depth = 8
    config.model.width = 4
    return config


CONFIG = make_config()


@functools.cache
def digits():
    return sources.load_source(CONFIG, 'validation')


@functools.cache
def network():
    """Returns a network whose weights and statistics are all random, so that its errors vary."""
    model = resnet.create_model(CONFIG, 10, axis_name=parallel.AXIS)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda array: (
            rng.uniform(0.5, 1.5, array.shape).astype(np.float32)
            * (1 if array.ndim == 1 else rng.choice([-1, 1], array.shape))
        ),
        resnet.init_variables(model, 8, seed=0, kernel_init='he_fan_out'),
    )
    return model, variables


@functools.cache
def plain_outputs():
    """Returns labels, losses and logits of the validation digits, without batches or devices."""
    model, variables = network()
    examples = [digits().read(index) for index in digits().elements(None, 0)]
    images = np.stack([example['image'].numpy() for example in examples])
    labels = np.array([int(example['label']) for example in examples])
    apply = jax.jit(lambda images: model.apply(variables, images, train=False))
    logits = np.asarray(apply(images), np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]
    return labels, losses, logits


@functools.cache
def evaluator(num_devices, batch_size):
    """Returns an evaluator and its source, which tests change, so that few programs compile."""
    mesh = Mesh(np.array(jax.devices()[:num_devices]), (parallel.AXIS,))
    model, variables = network()
    source = types.SimpleNamespace(read=digits().read)
    shared = Evaluator(CONFIG, model, source, mesh, split='validation', batch_size=batch_size)
    return functools.partial(shared.run, parallel.replicate(variables, mesh), step=7), source


def evaluate(number, num_devices, batch_size, claimed=None):
    """Evaluates the first so many digits of the split, which claims to have that many."""
    run, source = evaluator(num_devices, batch_size)
    source.num_examples = claimed or number
    source.elements = lambda seed, start: digits().elements(seed, start).take(number - start)
    return run()


def assert_equals_plain_evaluation(result, number):
    labels, losses, logits = (array[:number] for array in plain_outputs())
    order = np.argsort(-logits, axis=1, kind='stable')
    confusion = np.zeros((10, 10), np.int64)
    for label, classes in zip(labels, order[:, :5], strict=True):
        confusion[label, classes] += 1
    assert result.num_examples == number
    assert result.top1 == np.mean(order[:, 0] == labels)
    assert result.top5 == np.mean((order[:, :5] == labels[:, None]).any(axis=1))
    np.testing.assert_allclose(result.loss, losses.mean(), rtol=1e-5)
    np.testing.assert_array_equal(result.confusion, confusion)


@pytest.mark.parametrize('num_devices', [1, 2, 4])
@pytest.mark.parametrize('number', range(1, 10))
def test_masked_evaluation_is_plain_evaluation(number, num_devices):
    result = evaluate(number, num_devices, batch_size=4)
    assert_equals_plain_evaluation(result, number)
    assert (result.split, result.step, result.averaged) == ('validation', 7, False)


def test_the_random_network_has_hits_and_misses_to_tell_apart():
    labels, _, logits = plain_outputs()
    order = np.argsort(-logits, axis=1)
    hits = (order[:, :5] == labels[:, None]).any(axis=1)
    assert 0.2 < hits.mean() < 0.9
    assert len(np.unique(order[:, 0])) > 3


@pytest.mark.parametrize('batch_size', [4, 100, 360, 512])
def test_the_batch_size_does_not_matter(batch_size):
    assert_equals_plain_evaluation(evaluate(360, 4, batch_size), 360)


def test_a_batch_size_that_the_devices_cannot_share_is_no_error():
    assert_equals_plain_evaluation(evaluate(5, 4, batch_size=3), 5)


@pytest.mark.parametrize('claimed', [8, 10])
def test_a_source_with_another_number_of_examples_than_it_says_is_an_error(claimed):
    with pytest.raises(RuntimeError, match=f'expected {claimed} examples, found 9'):
        evaluate(9, 4, batch_size=4, claimed=claimed)
