"""Data sets with fewer examples than their description says."""

import dataclasses

import pytest
import tensorflow as tf

from resnet_jax.config import data_sets, schema
from resnet_jax.data import pipeline
from resnet_jax.data.sources import registry
from resnet_jax.errors import RunFailed


@pytest.mark.parametrize('missing', [1, 64, 1000])
def test_training_fails_if_examples_are_missing(missing):
    config = data_sets.use_data(schema.get_config(), 'digits')
    config.batch_size, config.num_epochs = 64, 1
    whole = registry.load_source(config, 'train')
    num_steps = whole.num_examples // config.batch_size

    def elements(seed: tf.Tensor, start: tf.Tensor) -> tf.data.Dataset:
        num_examples = num_steps * config.batch_size - missing
        return whole.elements(seed, start).take(tf.maximum(num_examples - start, 0))

    short = dataclasses.replace(whole, elements=elements)
    batches = pipeline.train_batches(short, config, start_step=3)
    yielded = []
    with pytest.raises(RunFailed, match='expected 1437 training examples in each epoch, found'):
        yielded.extend(batches)
    assert len(yielded) == num_steps - 3 - -(-missing // 64)
    assert all(len(batch['label']) == 64 for batch in yielded)
