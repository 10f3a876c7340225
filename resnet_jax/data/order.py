"""Order of the examples in an epoch: a permutation that depends only on a seed.

A split whose examples can be read at any index (digits, folders) is permuted as a whole. The
records of a TFRecord file can only be read from the file's beginning; therefore the files are
permuted and cut into groups, and the records of each group are shuffled in memory. Both orders can
start at any position, so that a run can be continued in the middle of an epoch.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def record_elements(files: list[Any], group_files: int) -> Callable[..., tf.data.Dataset]:
    """Returns `elements(seed, start)` for records of TFRecord files.

    The files are permuted and cut into groups of `group_files`. The records of a group are shuffled
    in memory while the next two groups are read. To start at a position, only the beginning of its
    group is read and dropped; the groups before it are not read.

    Args:
      files: TFDS's `FileInstruction` of each file: `filename`, and the range of records to use as
        `skip` and `take`.
      group_files: number of files in a group.

    Returns:
      The function that `Source.elements` describes. Its elements are dicts of the record (`record`,
      string) and its position in stored order (`id`, int64).
    """
    paths = tf.constant([str(file.filename) for file in files])
    skips = tf.constant([file.skip for file in files], tf.int64)
    takes = tf.constant([file.take for file in files], tf.int64)
    first_ids = tf.cumsum(takes, exclusive=True)
    num_groups = -(-len(files) // group_files)

    def read_file(file: tf.Tensor) -> tf.data.Dataset:
        records = tf.data.TFRecordDataset(paths[file], buffer_size=2**20)
        records = records.skip(skips[file]).take(takes[file])
        ids = tf.data.Dataset.range(first_ids[file], first_ids[file] + takes[file])
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
        first_position = tf.reduce_sum(tf.where(ends <= start, lengths, 0))  # of that group

        def read_group(group: tf.Tensor) -> tf.data.Dataset:
            members = tf.data.Dataset.from_tensor_slices(
                order[group * group_files : (group + 1) * group_files]
            )
            if seed is None:
                return members.flat_map(read_file)
            # A negative number, because the augmentation folds in ids, which are not negative.
            group_seed = tf.random.experimental.stateless_fold_in(seed, -1 - group)
            shuffle_seed = tf.random.stateless_uniform([], group_seed, 1, 2**31 - 1, tf.int64)
            records = members.interleave(
                read_file, cycle_length=group_files, num_parallel_calls=group_files
            )
            return records.shuffle(
                lengths[group], seed=shuffle_seed, reshuffle_each_iteration=False
            )

        groups = tf.data.Dataset.range(first_group, num_groups)
        if seed is None:
            return groups.flat_map(read_group).skip(start - first_position)
        # The same order as with flat_map, but TensorFlow reads two more groups ahead.
        ordered = groups.interleave(
            read_group, cycle_length=1, num_parallel_calls=1, deterministic=True
        )
        return ordered.skip(start - first_position)

    return elements


def indexed_elements(num_examples: int) -> Callable[..., tf.data.Dataset]:
    """Returns `elements(seed, start)` for a split that can be read at any index.

    Its elements are indices, int64; a seed permutes the whole split.
    """

    def elements(seed: tf.Tensor | None, start: tf.Tensor) -> tf.data.Dataset:
        order = tf.range(num_examples, dtype=tf.int64)
        if seed is not None:
            order = tf.random.experimental.stateless_shuffle(order, seed)
        return tf.data.Dataset.from_tensor_slices(order[start:])

    return elements
