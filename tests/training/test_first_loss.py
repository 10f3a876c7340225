"""The first loss of a run: close to that of equal probabilities for all classes."""

import importlib
import math

import numpy as np
import pytest
from support.paths import ROOT

from resnet_jax.evaluation import metrics
from resnet_jax.models import initialization, resnet, stacking

NUM_CLASSES = {'imagenet2012': 1000}  # others: 10


def compute_first_loss(config, num_classes, *, batch_size=8):
    """Returns the loss of newly initialised weights, averaged over all labels of random images.

    ImageNet's networks get images of 64 px: the last feature maps are 2x2 px. Averages over more
    pixels, as with 224 px, only make the logits smaller.
    """
    image_size = min(config.data.image_size, 64)
    model = resnet.create_model(config, num_classes)
    variables = initialization.init_variables(
        model, image_size, seed=config.seed, kernel_init=config.model.kernel_init
    )
    variables = stacking.stack_blocks(variables, model.num_scanned)
    shape = (batch_size, image_size, image_size, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    logits, _ = model.apply(variables, images, train=True, mutable=['batch_stats'])
    logits = np.repeat(np.asarray(logits), num_classes, axis=0)
    labels = np.tile(np.arange(num_classes, dtype=np.int32), batch_size)
    return float(metrics.compute_cross_entropy(logits, labels, 0.0).mean())


def configs():
    """Yields each config file; the deep networks take long."""
    for name in sorted(path.stem for path in (ROOT / 'configs').glob('[!_]*.py')):
        config = importlib.import_module(f'configs.{name}').get_config()
        slow = config.model.depth > 34 and config.data.name == 'imagenet2012'
        slow = slow or config.model.depth > 200
        yield pytest.param(config, id=name, marks=[pytest.mark.slow] if slow else [])


@pytest.mark.parametrize('config', list(configs()))
def test_the_first_loss_is_that_of_equal_probabilities(config):
    num_classes = NUM_CLASSES.get(config.data.name, 10)
    loss = compute_first_loss(config, num_classes)
    assert abs(loss - math.log(num_classes)) < 0.2
    print(f'{loss:.3f}, ln({num_classes}) = {math.log(num_classes):.3f}')


def test_the_first_loss_on_few_classes_is_that_of_equal_probabilities():
    config = importlib.import_module('configs.resnet18').get_config('digits')
    assert abs(compute_first_loss(config, 10, batch_size=128) - math.log(10)) < 0.2
