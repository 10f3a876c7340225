"""Decoding of examples: in parallel, in a fixed order, and with bad images named or skipped.

Several images are decoded at a time, but examples come out in the order in which their elements
went in. An image that cannot be decoded either stops the pipeline or is skipped: a blank image with
mask False takes its place, so that no other example moves. TensorFlow's errors do not say which
image failed, so `explain` decodes the failed part again, image by image, and names it.
"""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from resnet_jax.data import decoding
from resnet_jax.data.source import Source
from resnet_jax.errors import InputError, RunFailed

IMAGES_AHEAD = 4
"""Images in progress for each thread. With more than one, the threads go on with later images while
an image that takes long delays the output."""

Item = dict[str, Any]
"""Dict with an `element` of a source, and any other values that `decode` needs."""

Decode = Callable[[Item, tf.Tensor], dict[str, tf.Tensor]]
"""Function from an item and its stored image to the fields of the example, such as `image`."""


def decode_in_order(
    items: tf.data.Dataset,
    source: Source,
    decode: Decode,
    *,
    blank: Decode | None,
    num_threads: int,
) -> tf.data.Dataset:
    """Turns items into examples: dicts of id, label, mask and the fields that `decode` returns.

    Args:
      items: data set of `Item`s.
      source: the source of the items' elements.
      decode: decodes an image; runs inside tf.data.
      blank: replaces `decode` for an image that cannot be decoded; the example gets mask False.
        If None, such an image is an error of the iterator. A file that cannot be read is always an
        error.
      num_threads: number of images that are decoded at a time.
    """
    num_parallel = IMAGES_AHEAD * num_threads

    def prepare(item: Item) -> dict[str, tf.Tensor]:
        return prepare_loaded(item, source.load_image(item['element']))

    def prepare_loaded(item: Item, image: tf.Tensor) -> dict[str, tf.Tensor]:
        return source.identify(item['element']) | decode(item, image) | {'mask': True}

    if blank is None:
        return items.map(prepare, num_parallel_calls=num_parallel, deterministic=True)

    def prepare_or_blank(item: Item) -> tf.data.Dataset:
        loaded = source.load_image(item['element'])
        prepared = tf.data.Dataset.from_tensors((item, loaded)).map(prepare_loaded).ignore_errors()
        example = source.identify(item['element']) | blank(item, loaded) | {'mask': False}
        return prepared.concatenate(tf.data.Dataset.from_tensors(example)).take(1)

    return items.interleave(
        prepare_or_blank,
        cycle_length=num_parallel,
        num_parallel_calls=num_parallel,
        deterministic=True,
    )


def make_options(num_threads: int) -> tf.data.Options:
    """Returns tf.data's options for a pipeline with its own pool of `num_threads` threads."""
    options = tf.data.Options()
    options.deterministic = True
    options.threading.private_threadpool_size = num_threads + 1  # one makes batches
    # Autotuning runs a thread that sleeps for up to a minute, and the end of an iterator sometimes
    # waits until it wakes (TensorFlow 2.21).
    options.autotune.enabled = False
    return options


def count_cores() -> int:
    """Returns the number of CPU cores that this process can use."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def explain(
    items: tf.data.Dataset, source: Source, decode: Decode, error: tf.errors.OpError
) -> InputError | RunFailed:
    """Turns an error of tf.data into one that names the image, by decoding items one by one.

    Args:
      items: data set of `Item`s, one of which caused the error.
      source: the source of the items' elements.
      decode: the function that failed.
      error: the error as tf.data raised it.

    Returns:
      An `InputError` if an image cannot be decoded, and a `RunFailed` if it cannot be read.
    """
    try:
        for item in items:
            element = item['element']
            image = source.load_image(element)
            try:
                decode(item, image)
            except tf.errors.InvalidArgumentError:
                name = source.name(int(source.identify(element)['id']))
                reason = decoding.describe_fault(image.numpy())
                return InputError(
                    f'{name}: cannot be decoded: {reason}. Replace the image. To skip images that '
                    'cannot be decoded, train with --config.data.on_error=skip'
                )
    except tf.errors.OpError as reading_error:
        error = reading_error
    return RunFailed(
        f'the data cannot be read: {error.message}. Check that the files of the data set are there '
        'and undamaged, and run the same command again'
    )


def check_labels(ids: np.ndarray, labels: np.ndarray, source: Source) -> None:
    """Checks that each label is the index of a class.

    Args:
      ids: ids of the examples, int64 `[N]`.
      labels: labels of the examples, int32 `[N]`.
      source: the source of the examples.

    Raises:
      InputError: if a label is outside the classes; the message names its example.
    """
    num_classes = len(source.class_names)
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(wrong):
        raise InputError(
            f'{source.name(int(ids[wrong[0]]))}: expected a label from 0 to {num_classes - 1}, '
            f'found {labels[wrong[0]]}; correct the data set'
        )
