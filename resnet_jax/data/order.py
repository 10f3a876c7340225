"""The order of examples: one permutation an epoch, a function of a seed."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def record_elements(files: list[Any], group_files: int) -> Callable[..., tf.data.Dataset]:
    """Orders records of files that can only be read from their beginning.

    The files are permuted and cut into groups of `group_files`; the records of a group are read
    together and shuffled in memory, while two more groups are read. To begin at a position, only
    its group is read and dropped.
    """
    paths = tf.constant([str(file.filename) for file in files])
    skips = tf.constant([file.skip for file in files], tf.int64)
    takes = tf.constant([file.take for file in files], tf.int64)
    firsts = tf.cumsum(takes, exclusive=True)
    num_groups = -(-len(files) // group_files)

    def read_file(file: tf.Tensor) -> tf.data.Dataset:
        records = tf.data.TFRecordDataset(paths[file], buffer_size=2**20)
        records = records.skip(skips[file]).take(takes[file])
        ids = tf.data.Dataset.range(firsts[file], firsts[file] + takes[file])
        return tf.data.Dataset.zip({'id': ids, 'record': records})

    def elements(seed: tf.Tensor | None, start: tf.Tensor) -> tf.data.Dataset:
        order = tf.range(len(files))
        if seed is not None:
            order = tf.random.experimental.stateless_shuffle(order, seed)
        padding = num_groups * group_files - len(files)
        lengths = tf.pad(tf.gather(takes, order), [[0, padding]])
        lengths = tf.reduce_sum(tf.reshape(lengths, [num_groups, group_files]), axis=1)
        ends = tf.cumsum(lengths)
        first_group = tf.reduce_sum(tf.cast(ends <= start, tf.int64))
        before = tf.reduce_sum(tf.where(ends <= start, lengths, 0))

        def read_group(group: tf.Tensor) -> tf.data.Dataset:
            members = tf.data.Dataset.from_tensor_slices(
                order[group * group_files : (group + 1) * group_files]
            )
            if seed is None:
                return members.flat_map(read_file)
            # Folds -1, -2, ...: the augmentation folds in ids, which are not negative.
            group_seed = tf.random.experimental.stateless_fold_in(seed, -1 - group)
            draw = tf.random.stateless_uniform([], group_seed, 1, 2**31 - 1, tf.int64)
            records = members.interleave(
                read_file, cycle_length=group_files, num_parallel_calls=group_files
            )
            return records.shuffle(lengths[group], seed=draw, reshuffle_each_iteration=False)

        groups = tf.data.Dataset.range(first_group, num_groups)
        if seed is None:
            return groups.flat_map(read_group).skip(start - before)
        # In turn, as with flat_map, but TensorFlow fills two groups ahead meanwhile.
        ordered = groups.interleave(
            read_group, cycle_length=1, num_parallel_calls=1, deterministic=True
        )
        return ordered.skip(start - before)

    return elements


def indexed_elements(num_examples: int) -> Callable[..., tf.data.Dataset]:
    """Orders a split that can be read at any index: one permutation of all of it an epoch."""

    def elements(seed: tf.Tensor | None, start: tf.Tensor) -> tf.data.Dataset:
        order = tf.range(num_examples, dtype=tf.int64)
        if seed is not None:
            order = tf.random.experimental.stateless_shuffle(order, seed)
        return tf.data.Dataset.from_tensor_slices(order[start:])

    return elements
