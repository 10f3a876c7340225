"""Batches: for training in an order that is a function of the step, for evaluation each example
once; and their way onto the devices."""

import collections
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from resnet_jax.data import preprocessing
from resnet_jax.data.sources import Source
from resnet_jax.types import Batch, InputError

T = TypeVar('T')


def compute_steps_per_epoch(num_examples: int, batch_size: int) -> int:
    """Returns the whole batches in an epoch; what remains of its permutation is dropped.

    Raises:
      InputError: when there is not even one.
    """
    if num_examples < batch_size:
        raise InputError(
            f'config.batch_size = {batch_size}: expected at most the {num_examples} examples of '
            'the training split'
        )
    return num_examples // batch_size


def train_batches(source: Source, config: ConfigDict, *, start_step: int) -> Iterator[Batch]:
    """Yields the batches of steps `start_step`, `start_step + 1`, ... to the end of the last epoch.

    The batch of a step depends on the config and the step alone: the order of an epoch on
    `(seed, epoch)`, the augmentation of an example on `(seed, epoch, id)`.
    """
    batch_size = config.batch_size
    steps_per_epoch = compute_steps_per_epoch(source.num_examples, batch_size)
    start_epoch, start_in_epoch = divmod(start_step, steps_per_epoch)
    transform = preprocessing.make_train_transform(config)

    def epoch_elements(epoch: tf.Tensor) -> tf.data.Dataset:
        seed = tf.stack([tf.constant(config.seed, tf.int64), epoch])
        start = tf.where(epoch == start_epoch, start_in_epoch * batch_size, 0)
        start = tf.cast(start, tf.int64)
        elements = source.elements(seed, start).take(steps_per_epoch * batch_size - start)
        return elements.map(lambda element: (seed, element))

    def prepare(seed: tf.Tensor, element: Any) -> dict[str, tf.Tensor]:
        example = source.read(element)
        seed = tf.random.experimental.stateless_fold_in(seed, example['id'])
        return example | {'image': transform(example['image'], seed), 'mask': True}

    epochs = tf.data.Dataset.range(start_epoch, config.num_epochs)
    dataset = epochs.flat_map(epoch_elements)
    return _iterate(dataset, prepare, batch_size, config, drop_remainder=True)


def evaluation_batches(source: Source, config: ConfigDict, *, batch_size: int) -> Iterator[Batch]:
    """Yields every example of the split once, in stored order, the last batch padded."""
    transform = preprocessing.make_evaluation_transform(config)

    def prepare(element: Any) -> dict[str, tf.Tensor]:
        example = source.read(element)
        return example | {'image': transform(example['image']), 'mask': True}

    dataset = source.elements(None, tf.constant(0, tf.int64))
    for batch in _iterate(dataset, prepare, batch_size, config, drop_remainder=False):
        yield pad_batch(batch, batch_size)


def _iterate(
    dataset: tf.data.Dataset,
    prepare: Callable,
    batch_size: int,
    config: ConfigDict,
    *,
    drop_remainder: bool,
) -> Iterator[Batch]:
    num_threads = config.data.num_threads or _num_cores()
    dataset = dataset.map(prepare, num_parallel_calls=num_threads, deterministic=True)
    dataset = dataset.batch(batch_size, drop_remainder=drop_remainder)
    dataset = dataset.prefetch(config.data.prefetch_batches)
    options = tf.data.Options()
    options.deterministic = True
    options.threading.private_threadpool_size = num_threads
    # Autotuning has a thread that sleeps for up to a minute, and the end of an iterator sometimes
    # waits for it to wake (TensorFlow 2.21).
    options.autotune.enabled = False
    try:
        yield from dataset.with_options(options).as_numpy_iterator()
    except tf.errors.InvalidArgumentError as error:
        raise InputError(f'an image of the data set cannot be decoded: {error.message}') from None


def _num_cores() -> int:
    """Returns the cores that this process may use."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def pad_batch(batch: Batch, batch_size: int) -> Batch:
    """Fills a batch up to `batch_size` rows with rows whose mask is False and whose id is -1."""
    missing = batch_size - len(batch['label'])
    if not missing:
        return batch
    padded = {
        key: np.concatenate([array, np.zeros((missing, *array.shape[1:]), array.dtype)])
        for key, array in batch.items()
    }
    padded['id'][-missing:] = -1
    return padded


def prefetch(items: Iterable[T], put: Callable[[T], T], *, ahead: int = 1) -> Iterator[T]:
    """Yields `put(item)` for each item, called `ahead` items before it is asked for.

    With a `put` that starts a copy to the devices and returns at once, the copy of the next batch
    overlaps with the step on this one.
    """
    items = iter(items)
    waiting = collections.deque(put(item) for item in itertools.islice(items, ahead))
    for item in items:
        waiting.append(put(item))
        yield waiting.popleft()
    yield from waiting
