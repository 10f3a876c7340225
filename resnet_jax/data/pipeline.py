"""Batches for training and evaluation.

The batch of a training step depends only on the config and the step. So a run can be continued at
any step, and the number of threads or processes changes no batch. Evaluation reads each example
once, in stored order, and pads the last batch. If several processes work together, each decodes
only its own rows of every batch.
"""

from collections.abc import Callable, Iterator

import tensorflow as tf
from absl import logging
from ml_collections import ConfigDict

from resnet_jax.data import augmentation, parallel_decoding, preprocessing
from resnet_jax.data.epochs import compute_image_sizes, compute_steps_per_epoch
from resnet_jax.data.padding import empty_batch, pad_batch
from resnet_jax.data.parallel_decoding import Decode, Item
from resnet_jax.data.skip_limit import require_few_skipped
from resnet_jax.data.source import Source
from resnet_jax.devices.processes import ALONE, Process
from resnet_jax.errors import RunFailed
from resnet_jax.types import Batch


def train_batches(
    source: Source, config: ConfigDict, *, start_step: int, process: Process = ALONE
) -> Iterator[Batch]:
    """Yields the batches of steps `start_step`, `start_step + 1`, ... to the end of the last epoch.

    The batch of a step depends only on the config and the step: the order of an epoch on
    `(seed, epoch)`, the augmentation of an example on `(seed, epoch, id)`, and the size of the
    images on the epoch. An image that is skipped (`config.data.on_error`) is blank, has mask False
    and keeps its id.

    Raises:
      InputError: if a label is outside the classes, or if an image cannot be decoded and
        `config.data.on_error` is not 'skip'.
      RunFailed: if the data cannot be read, if it has fewer examples than the source says, or if
        this process has skipped more of its images of an epoch, since `start_step`, than
        `config.data.max_skipped_fraction` allows.
    """
    batch_size = config.batch_size
    steps_per_epoch = compute_steps_per_epoch(source.num_examples, batch_size)
    transform = augmentation.make_train_transform(config)
    sizes = tf.constant(compute_image_sizes(config), tf.int32)
    # Never `config.seed`, the first half of order_seed, because it is at least 2**32.
    first_image_seed = tf.constant((config.seed + 1) << 32, tf.int64)

    def items_from(batch: int) -> tf.data.Dataset:
        start_epoch, step_in_epoch = divmod(start_step + batch, steps_per_epoch)

        def epoch_items(epoch: tf.Tensor) -> tf.data.Dataset:
            order_seed = tf.stack([tf.constant(config.seed, tf.int64), epoch])
            start = tf.where(epoch == start_epoch, step_in_epoch * batch_size, 0)
            start = tf.cast(start, tf.int64)
            elements = source.elements(order_seed, start).take(steps_per_epoch * batch_size - start)
            constants = {
                'seed': _repeat(first_image_seed + epoch),
                'size': _repeat(tf.gather(sizes, epoch)),
            }
            return tf.data.Dataset.zip({'element': elements} | constants)

        return tf.data.Dataset.range(start_epoch, config.num_epochs).flat_map(epoch_items)

    def decode(item: Item, image: tf.Tensor) -> dict[str, tf.Tensor]:
        seed = tf.stack([item['seed'], source.identify(item['element'])['id']])
        return {'image': transform(image, seed, item['size'])}

    def blank(item: Item, _: tf.Tensor) -> dict[str, tf.Tensor]:
        return {'image': tf.zeros(tf.stack([item['size'], item['size'], 3]), tf.uint8)}

    batches = _iterate(items_from, source, config, decode, blank, batch_size, process)
    rows = batch_size // process.count
    skipped: list[int] = []  # in this epoch
    for step in range(start_step, config.num_epochs * steps_per_epoch):
        epoch, step_in_epoch = divmod(step, steps_per_epoch)
        if not step_in_epoch:
            skipped = []
        batch = next(batches, None)
        if batch is None or len(batch['label']) < rows:
            raise RunFailed(
                f'step {step + 1}: expected {source.num_examples} training examples in each '
                'epoch, found fewer: the data set does not match its description; prepare it again'
            )
        skipped += batch['id'][~batch['mask']].tolist()
        where = f'epoch {epoch + 1}, step {step + 1}'
        require_few_skipped(skipped, rows * steps_per_epoch, source, config, where=where)
        yield batch


def _repeat(value: tf.Tensor) -> tf.data.Dataset:
    """Returns a data set that repeats a value; cheaper than a function called for each element."""
    return tf.data.Dataset.from_tensors(value).repeat()


def evaluation_batches(
    source: Source, config: ConfigDict, *, batch_size: int, process: Process = ALONE
) -> Iterator[Batch]:
    """Yields every example of the split once, in stored order; the last batch is padded.

    Every process gets the same number of batches. The errors are those of `train_batches`.
    """
    transform = preprocessing.make_evaluation_transform(config)
    size = config.data.image_size

    def decode(_: Item, image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {'image': transform(image)}

    def blank(*_: object) -> dict[str, tf.Tensor]:
        return {'image': tf.zeros([size, size, 3], tf.uint8)}

    def items_from(batch: int) -> tf.data.Dataset:
        elements = source.elements(None, tf.constant(batch * batch_size, tf.int64))
        return tf.data.Dataset.zip({'element': elements})

    batches = _iterate(items_from, source, config, decode, blank, batch_size, process)
    rows = batch_size // process.count
    num_batches = -(-source.num_examples // batch_size)
    for _ in range(num_batches):
        yield pad_batch(next(batches, None) or empty_batch(size), rows)
    for batch in batches:
        yield pad_batch(batch, rows)


def _iterate(
    items_from: Callable[[int], tf.data.Dataset],
    source: Source,
    config: ConfigDict,
    decode: Decode,
    blank: Decode,
    batch_size: int,
    process: Process,
) -> Iterator[Batch]:
    """Yields this process's rows of each batch; the last batch can have fewer rows.

    Args:
      items_from: function `items_from(n)`, which returns the items of all processes from the nth
        batch on.
      source: the source of the items' elements.
      config: a complete config; `data` is read.
      decode: decodes an image.
      blank: makes the example of an image that is skipped.
      batch_size: number of rows of a batch, in all processes together.
      process: this process.
    """
    rows = batch_size // process.count
    num_threads = config.data.num_threads or parallel_decoding.count_cores()
    items = _only_rows(items_from(0), batch_size, process)
    dataset = parallel_decoding.decode_in_order(
        items,
        source,
        decode,
        blank=blank if config.data.on_error == 'skip' else None,
        num_threads=num_threads,
    )
    dataset = dataset.batch(rows).prefetch(config.data.prefetch_batches)
    options = parallel_decoding.make_options(num_threads)
    num_batches = 0
    warned: set[int] = set()
    try:
        for batch in dataset.with_options(options).as_numpy_iterator():
            parallel_decoding.check_labels(batch['id'], batch['label'], source)
            _warn_of_skipped(batch, source, warned)
            num_batches += 1
            yield batch
    except tf.errors.OpError as error:
        failed = _only_rows(items_from(num_batches), batch_size, process).take(rows)
        raise parallel_decoding.explain(failed, source, decode, error) from None


def _only_rows(items: tf.data.Dataset, batch_size: int, process: Process) -> tf.data.Dataset:
    """Keeps only the process's rows of each batch, before any image is decoded."""
    if process.count == 1:
        return items
    first, end = process.rows(batch_size)

    def is_ours(position: tf.Tensor, _: Item) -> tf.Tensor:
        row = position % batch_size
        return (row >= first) & (row < end)

    return items.enumerate().filter(is_ours).map(lambda _, item: item)


def _warn_of_skipped(batch: Batch, source: Source, warned: set[int]) -> None:
    """Logs each skipped image once.

    Args:
      batch: this process's rows of a batch.
      source: the source of the examples.
      warned: ids that are already in the log; those of this batch are added.
    """
    for index in batch['id'][~batch['mask']].tolist():
        if index not in warned:
            warned.add(index)
            logging.warning(
                '%s: cannot be decoded, and is skipped (%d so far)', source.name(index), len(warned)
            )
