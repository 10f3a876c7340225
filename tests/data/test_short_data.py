"""Data sets that hold fewer examples than they say."""

import dataclasses

import pytest
import tensorflow as tf

from resnet_jax.config import data_sets, schema
from resnet_jax.data import pipeline
from resnet_jax.data.sources import loading
from resnet_jax.errors import RunFailed


@pytest.mark.parametrize('missing', [1, 64, 1000])
def test_training_says_so_when_examples_are_missing(missing):
    config = data_sets.use_data(schema.get_config(), 'digits')
    config.batch_size, config.num_epochs = 64, 1
    whole = loading.load_source(config, 'train')
    num_steps = whole.num_examples // config.batch_size

    def elements(seed: tf.Tensor, start: tf.Tensor) -> tf.data.Dataset:
        in_all = num_steps * config.batch_size - missing
        return whole.elements(seed, start).take(tf.maximum(in_all - start, 0))

    short = dataclasses.replace(whole, elements=elements)
    batches = pipeline.train_batches(short, config, start_step=3)
    found = []
    with pytest.raises(RunFailed, match='expected the batches of 1437 training examples an epoch'):
        found.extend(batches)
    assert len(found) == num_steps - 3 - -(-missing // 64)
    assert all(len(batch['label']) == 64 for batch in found)
