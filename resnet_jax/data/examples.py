"""From elements of a source to examples: in parallel, in order, and with a name for what fails."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from resnet_jax.data import decoding
from resnet_jax.data.source import Source
from resnet_jax.errors import InputError, RunFailed
from resnet_jax.types import Batch

IMAGES_AHEAD = 4
"""Images for each thread that may be finished before their turn: one that takes long holds up the
order, not the threads."""

Item = dict[str, Any]
"""`element` of a source, and whatever else `decode` needs."""

Decode = Callable[[Item, tf.Tensor], dict[str, tf.Tensor]]
"""Turns an item and its stored image into the example's image and what belongs to it."""


def decode_in_order(
    items: tf.data.Dataset,
    source: Source,
    decode: Decode,
    *,
    blank: Decode | None,
    num_threads: int,
) -> tf.data.Dataset:
    """Turns items into examples: id, label, mask and what `decode` returns.

    Args:
      items: `Item`s.
      source: where they come from.
      decode: runs inside tf.data.
      blank: stands for `decode` where that fails, with mask False; None lets the iterator fail.
        Not to be able to read an image is another thing, and always fails.
      num_threads: images at a time.
    """

    def prepare(item: Item) -> dict[str, tf.Tensor]:
        return prepare_loaded(item, source.load_image(item['element']))

    def prepare_loaded(item: Item, image: tf.Tensor) -> dict[str, tf.Tensor]:
        return source.identify(item['element']) | decode(item, image) | {'mask': True}

    def prepare_or_blank(item: Item) -> tf.data.Dataset:
        loaded = source.load_image(item['element'])
        prepared = tf.data.Dataset.from_tensors((item, loaded)).map(prepare_loaded).ignore_errors()
        example = source.identify(item['element']) | blank(item, loaded) | {'mask': False}
        return prepared.concatenate(tf.data.Dataset.from_tensors(example)).take(1)

    if blank is None:
        return items.map(prepare, num_parallel_calls=IMAGES_AHEAD * num_threads, deterministic=True)
    return items.interleave(
        prepare_or_blank,
        cycle_length=IMAGES_AHEAD * num_threads,
        num_parallel_calls=IMAGES_AHEAD * num_threads,
        deterministic=True,
    )


def make_options(num_threads: int) -> tf.data.Options:
    """Returns tf.data's options for a pipeline of so many threads of its own."""
    options = tf.data.Options()
    options.deterministic = True
    options.threading.private_threadpool_size = num_threads + 1  # one copies into batches
    # Autotuning has a thread that sleeps for up to a minute, and the end of an iterator sometimes
    # waits for it to wake (TensorFlow 2.21).
    options.autotune.enabled = False
    return options


def count_cores() -> int:
    """Returns the cores that this process may use."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def explain(
    items: tf.data.Dataset, source: Source, decode: Decode, error: tf.errors.OpError
) -> InputError | RunFailed:
    """Finds the example behind an error by preparing items one by one."""
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
                    f'{name}: cannot be decoded: {reason}. Mend it, or go on without it with '
                    '--config.data.on_error=skip'
                )
    except tf.errors.OpError as reading_error:
        error = reading_error
    return RunFailed(f'the data cannot be read: {error.message}')


def check_labels(batch: Batch, source: Source) -> None:
    """Raises `InputError` with the example's name for a label that is not one of the classes."""
    num_classes = len(source.class_names)
    wrong = np.flatnonzero((batch['label'] < 0) | (batch['label'] >= num_classes))
    if len(wrong):
        name, label = source.name(int(batch['id'][wrong[0]])), batch['label'][wrong[0]]
        raise InputError(f'{name}: expected a label from 0 to {num_classes - 1}, found {label}')
