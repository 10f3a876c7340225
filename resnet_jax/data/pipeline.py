"""Batches: for training in an order that is a function of the step, for evaluation each example
once; and their way onto the devices."""

import collections
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np
import tensorflow as tf
from absl import logging
from ml_collections import ConfigDict

from resnet_jax.data import preprocessing
from resnet_jax.data.sources import Source
from resnet_jax.types import Batch, InputError, RunFailed

T = TypeVar('T')

Item = dict[str, Any]
"""`element` of a source and, in training, `seed` int64 `[2]` of the epoch."""


class Process(NamedTuple):
    """Which of a run's processes this one is: it prepares its rows of each batch."""

    index: int
    count: int

    def rows(self, batch_size: int) -> tuple[int, int]:
        """Returns the first row of a batch that is this process's, and the first behind them."""
        share = batch_size // self.count
        return self.index * share, (self.index + 1) * share


ALONE = Process(0, 1)


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


def train_batches(
    source: Source, config: ConfigDict, *, start_step: int, process: Process = ALONE
) -> Iterator[Batch]:
    """Yields the batches of steps `start_step`, `start_step + 1`, ... to the end of the last epoch.

    The batch of a step depends on the config and the step alone: the order of an epoch on
    `(seed, epoch)`, the augmentation of an example on `(seed, epoch, id)`.

    Raises:
      InputError: for a label outside the classes, and, unless `config.data.on_error` is 'skip',
        for an image that cannot be decoded; a skipped one has mask False and keeps its id.
      RunFailed: when the data cannot be read.
    """
    batch_size = config.batch_size
    steps_per_epoch = compute_steps_per_epoch(source.num_examples, batch_size)
    transform = preprocessing.make_train_transform(config)

    def items_from(batch: int) -> tf.data.Dataset:
        start_epoch, start_in_epoch = divmod(start_step + batch, steps_per_epoch)

        def epoch_items(epoch: tf.Tensor) -> tf.data.Dataset:
            seed = tf.stack([tf.constant(config.seed, tf.int64), epoch])
            start = tf.where(epoch == start_epoch, start_in_epoch * batch_size, 0)
            start = tf.cast(start, tf.int64)
            elements = source.elements(seed, start).take(steps_per_epoch * batch_size - start)
            return elements.map(lambda element: {'element': element, 'seed': seed})

        return tf.data.Dataset.range(start_epoch, config.num_epochs).flat_map(epoch_items)

    def decode(item: Item, image: tf.Tensor) -> tf.Tensor:
        index = source.identify(item['element'])['id']
        seed = tf.random.experimental.stateless_fold_in(item['seed'], index)
        return transform(image, seed)

    return _iterate(items_from, source, config, decode, batch_size, process)


def evaluation_batches(
    source: Source, config: ConfigDict, *, batch_size: int, process: Process = ALONE
) -> Iterator[Batch]:
    """Yields every example of the split once, in stored order, the last batch padded.

    Every process gets equally many batches. Raises as `train_batches` does.
    """
    transform = preprocessing.make_evaluation_transform(config)

    def decode(_: Item, image: tf.Tensor) -> tf.Tensor:
        return transform(image)

    def items_from(batch: int) -> tf.data.Dataset:
        elements = source.elements(None, tf.constant(batch * batch_size, tf.int64))
        return elements.map(lambda element: {'element': element})

    batches = _iterate(items_from, source, config, decode, batch_size, process)
    rows = batch_size // process.count
    num_batches = -(-source.num_examples // batch_size)
    for _ in range(num_batches):
        yield pad_batch(next(batches, None) or _empty_batch(config), rows)
    for batch in batches:
        yield pad_batch(batch, rows)


def _iterate(
    items_from: Callable[[int], tf.data.Dataset],
    source: Source,
    config: ConfigDict,
    decode: Callable[[Item, tf.Tensor], tf.Tensor],
    batch_size: int,
    process: Process,
) -> Iterator[Batch]:
    """Yields this process's rows of the batches; the last ones may have fewer.

    `items_from(n)` gives the items of all processes from the nth batch on.
    """
    items = _only_rows(items_from(0), batch_size, process)
    rows = batch_size // process.count
    num_threads = config.data.num_threads or _num_cores()
    dataset = _prepare(items, source, config, decode, num_threads)
    dataset = dataset.batch(rows).prefetch(config.data.prefetch_batches)
    options = tf.data.Options()
    options.deterministic = True
    options.threading.private_threadpool_size = num_threads
    # Autotuning has a thread that sleeps for up to a minute, and the end of an iterator sometimes
    # waits for it to wake (TensorFlow 2.21).
    options.autotune.enabled = False
    num_batches = 0
    reported: set[int] = set()
    try:
        for batch in dataset.with_options(options).as_numpy_iterator():
            _check_labels(batch, source)
            _report_skipped(batch, source, reported)
            num_batches += 1
            yield batch
    except tf.errors.OpError as error:
        part = _only_rows(items_from(num_batches), batch_size, process).take(rows)
        raise _explain(part, source, decode, error) from None


def _only_rows(items: tf.data.Dataset, batch_size: int, process: Process) -> tf.data.Dataset:
    """Keeps the process's rows of each batch, before anything is decoded."""
    if process.count == 1:
        return items
    first, end = process.rows(batch_size)

    def is_ours(position: tf.Tensor, _: Item) -> tf.Tensor:
        row = position % batch_size
        return (row >= first) & (row < end)

    return items.enumerate().filter(is_ours).map(lambda _, item: item)


def _prepare(
    items: tf.data.Dataset,
    source: Source,
    config: ConfigDict,
    decode: Callable[[Item, tf.Tensor], tf.Tensor],
    num_threads: int,
) -> tf.data.Dataset:
    """Turns items into examples, in order.

    Only an image that cannot be decoded may be skipped: not to be able to read it is another thing.
    """
    size = config.data.image_size

    def prepare(item: Item) -> dict[str, tf.Tensor]:
        return prepare_loaded(item, source.load_image(item['element']))

    def prepare_loaded(item: Item, image: tf.Tensor) -> dict[str, tf.Tensor]:
        return source.identify(item['element']) | {'image': decode(item, image), 'mask': True}

    def prepare_or_blank(item: Item) -> tf.data.Dataset:
        loaded = source.load_image(item['element'])
        prepared = tf.data.Dataset.from_tensors((item, loaded)).map(prepare_loaded).ignore_errors()
        blank = {'image': tf.zeros([size, size, 3], tf.uint8), 'mask': False}
        fallback = tf.data.Dataset.from_tensors(source.identify(item['element']) | blank)
        return prepared.concatenate(fallback).take(1)

    if config.data.on_error == 'raise':
        return items.map(prepare, num_parallel_calls=num_threads, deterministic=True)
    return items.interleave(
        prepare_or_blank,
        cycle_length=num_threads,
        num_parallel_calls=num_threads,
        deterministic=True,
    )


def _explain(
    items: tf.data.Dataset,
    source: Source,
    decode: Callable[[Item, tf.Tensor], tf.Tensor],
    error: tf.errors.OpError,
) -> InputError | RunFailed:
    """Finds the example behind an error by preparing those of a batch one by one."""
    try:
        for item in items:
            element = item['element']
            image = source.load_image(element)
            try:
                decode(item, image)
            except tf.errors.InvalidArgumentError:
                name = source.name(int(source.identify(element)['id']))
                reason = preprocessing.describe_fault(image.numpy())
                return InputError(
                    f'{name}: cannot be decoded: {reason}. Mend it, or go on without it with '
                    '--config.data.on_error=skip'
                )
    except tf.errors.OpError as reading_error:
        error = reading_error
    return RunFailed(f'the data cannot be read: {error.message}')


def _check_labels(batch: Batch, source: Source) -> None:
    num_classes = len(source.class_names)
    wrong = np.flatnonzero((batch['label'] < 0) | (batch['label'] >= num_classes))
    if len(wrong):
        name, label = source.name(int(batch['id'][wrong[0]])), batch['label'][wrong[0]]
        raise InputError(f'{name}: expected a label from 0 to {num_classes - 1}, found {label}')


def _report_skipped(batch: Batch, source: Source, reported: set[int]) -> None:
    for index in batch['id'][~batch['mask']].tolist():
        if index not in reported:
            reported.add(index)
            logging.warning(
                '%s: cannot be decoded, and is skipped (%d so far)',
                source.name(index),
                len(reported),
            )


def _num_cores() -> int:
    """Returns the cores that this process may use."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _empty_batch(config: ConfigDict) -> Batch:
    size = config.data.image_size
    return {
        'image': np.zeros((0, size, size, 3), np.uint8),
        'label': np.zeros(0, np.int32),
        'mask': np.zeros(0, bool),
        'id': np.zeros(0, np.int64),
    }


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
