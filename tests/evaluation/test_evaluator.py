"""Evaluation of a whole split: each example counts once for every batch size."""

import functools

import jax
import numpy as np
import pytest
import tensorflow as tf
from jax.sharding import Mesh

from resnet_jax.config import data_sets, schema
from resnet_jax.data.sources import registry
from resnet_jax.devices import parallel
from resnet_jax.errors import RunFailed
from resnet_jax.evaluation.evaluator import Evaluator
from resnet_jax.models import initialization, resnet


def make_config():
    config = data_sets.use_data(schema.get_config(), 'digits')
    config.model.depth = 8
    config.model.width = 4
    config.ema_decay = 0.0
    return config


CONFIG = make_config()


@functools.cache
def digits():
    return registry.load_source(CONFIG, 'validation')


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
        initialization.init_variables(model, 8, seed=0, kernel_init='he_fan_out'),
    )
    return model, variables


@functools.cache
def plain_outputs():
    """Returns labels, losses and logits of the validation digits, without batches or devices."""
    model, variables = network()
    indices = list(digits().elements(None, 0))
    images = np.stack([digits().load_image(index).numpy() for index in indices])
    labels = np.array([int(digits().identify(index)['label']) for index in indices])
    apply = jax.jit(lambda images: model.apply(variables, images, train=False))
    logits = np.asarray(apply(images), np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]
    return labels, losses, logits


class SomeDigits:
    """Source of the first validation digits; tests change its examples and their stated number."""

    def __init__(self):
        self.class_names, self.name = digits().class_names, digits().name
        self.num_examples, self.ids, self.unreadable = 0, [], []

    def elements(self, seed, start):
        return tf.data.Dataset.from_tensor_slices(np.array(self.ids, np.int64)[start:])

    def identify(self, index):
        return digits().identify(index)

    def load_image(self, index):
        is_unreadable = tf.reduce_any(tf.equal(index, tf.constant(self.unreadable, tf.int64)))
        return tf.where(is_unreadable, b'no image', tf.io.encode_png(digits().load_image(index)))


@functools.cache
def evaluator(num_devices, batch_size):
    """Returns the `run` of an evaluator, and its source, which tests change.

    The evaluator is shared by the tests, so that few programs are compiled.
    """
    mesh = Mesh(np.array(jax.devices()[:num_devices]), (parallel.AXIS,))
    model, variables = network()
    source = SomeDigits()
    shared = Evaluator(
        CONFIG,
        model.compute_logits,
        source,
        mesh,
        num_classes=model.num_classes,
        split='validation',
        batch_size=batch_size,
    )
    return functools.partial(shared.run, parallel.replicate(variables, mesh), step=7), source


def evaluate(number, num_devices, batch_size, claimed=None, ids=None, unreadable=()):
    """Evaluates the first `number` digits of the split, whose stated number is `claimed`."""
    run, source = evaluator(num_devices, batch_size)
    source.num_examples = claimed or number
    source.ids = ids or list(range(number))
    source.unreadable = list(unreadable)
    return run()


def assert_equals_plain_evaluation(result, number, unreadable=()):
    labels, losses, logits = (array[:number] for array in plain_outputs())
    order = np.argsort(-logits, axis=1, kind='stable')
    readable = ~np.isin(np.arange(number), unreadable)
    hits = (order[:, :5] == labels[:, None]) & readable[:, None]
    confusion = np.zeros((10, 10), np.int64)
    for label, classes in zip(labels[readable], order[readable, :5], strict=True):
        confusion[label, classes] += 1
    assert (result.num_examples, result.num_errors) == (number, len(unreadable))
    assert result.top1 == np.mean(hits[:, 0])
    assert result.top5 == np.mean(hits.any(axis=1))
    np.testing.assert_allclose(result.loss, losses[readable].mean(), rtol=1e-5)
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
def test_a_source_whose_number_of_examples_is_not_the_stated_one_is_an_error(claimed):
    message = f'expected {claimed} examples, each once, found 9 with 9 different ids'
    with pytest.raises(RunFailed, match=message):
        evaluate(9, 4, batch_size=4, claimed=claimed)


def test_a_source_that_gives_an_example_twice_is_an_error():
    message = 'expected 9 examples, each once, found 9 with 8 different ids'
    with pytest.raises(RunFailed, match=message):
        evaluate(9, 4, batch_size=4, ids=[0, 1, 2, 3, 4, 5, 6, 7, 7])


@pytest.fixture
def _skipping():
    CONFIG.data.on_error, CONFIG.data.max_skipped_fraction = 'skip', 1.0
    yield
    CONFIG.data.on_error, CONFIG.data.max_skipped_fraction = 'raise', 0.1


@pytest.mark.usefixtures('_skipping')
@pytest.mark.parametrize('unreadable', [[0], [4, 8], [0, 1, 2, 3], [1, 2, 3, 5, 6, 7, 8]])
def test_an_unreadable_image_is_wrong_left_out_of_the_loss_and_counted(unreadable):
    result = evaluate(9, 4, batch_size=4, unreadable=unreadable)
    assert_equals_plain_evaluation(result, 9, unreadable)


@pytest.mark.usefixtures('_skipping')
@pytest.mark.parametrize('limit', [0.1, 1.0])
def test_nothing_but_unreadable_images_is_no_result(limit):
    CONFIG.data.max_skipped_fraction = limit
    with pytest.raises(RunFailed, match='of the 5 images to be skipped'):
        evaluate(5, 4, batch_size=4, unreadable=range(5))


@pytest.mark.usefixtures('_skipping')
@pytest.mark.parametrize(('limit', 'fails'), [(0.0, True), (0.39, True), (0.4, False)])
def test_the_limit_is_a_share_of_the_whole_split(limit, fails):
    CONFIG.data.max_skipped_fraction = limit
    if fails:
        with pytest.raises(RunFailed, match=f'at most {limit:g} of the 5 images'):
            evaluate(5, 4, batch_size=4, unreadable=[0, 4])
    else:
        assert evaluate(5, 4, batch_size=4, unreadable=[0, 4]).num_errors == 2


def test_between_batches_an_evaluation_can_be_stopped():
    calls = []

    def stop_at_the_second():
        calls.append(len(calls))
        if len(calls) == 2:
            raise KeyboardInterrupt

    run, source = evaluator(4, 4)
    source.num_examples, source.ids, source.unreadable = 9, list(range(9)), []
    with pytest.raises(KeyboardInterrupt):
        run(between_batches=stop_at_the_second)
    assert calls == [0, 1]
    assert_equals_plain_evaluation(run(), 9)
