"""Data sets that TFDS has prepared, or that lie prepared in its format.

Their records lie in files that can only be read from their beginning.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from ml_collections import ConfigDict

from resnet_jax.data import class_names
from resnet_jax.data.split import Source
from resnet_jax.types import InputError


def load_tfds(config: ConfigDict, split: str) -> Source:
    """Opens a split of encoded images or of uint8 pixels `[H, W, 3]`; neither is decoded here."""
    import tensorflow_datasets as tfds

    info = _prepared_builder(config).info
    keys = image_key, label_key = _supervised_keys(info)
    try:
        files = info.splits[split].file_instructions
    except (KeyError, ValueError):
        raise InputError(
            f'split {split!r} of {info.name}: expected one of {", ".join(info.splits)}, or a '
            f"slice such as '{next(iter(info.splits))}[:90%]'"
        ) from None
    if not files:
        raise InputError(f'split {split!r} of {info.name}: expected at least one example')
    _require_tfrecord(info)
    ends = np.cumsum([file.take for file in files])
    # Apart, because the pipeline asks for them apart and copying an image takes time.
    parts = {key: tfds.features.FeaturesDict({key: info.features[key]}) for key in keys}
    encoded = isinstance(info.features[image_key], tfds.features.Image)
    decoders = {image_key: tfds.decode.SkipDecoding()} if encoded else {}

    def parse(element: dict[str, tf.Tensor], key: str) -> tf.Tensor:
        only = {k: decoders[k] for k in decoders if k == key}
        return parts[key].deserialize_example(element['record'], decoders=only)[key]

    def name(index: int) -> str:
        file = int(np.searchsorted(ends, index, side='right'))
        record = index - int(ends[file]) + files[file].take + files[file].skip
        return f'record {record} of {files[file].filename}'

    return Source(
        num_examples=sum(file.take for file in files),
        class_names=class_names.describe(info.features[label_key].names),
        elements=_record_elements(files, config.data.shuffle_group_files),
        identify=lambda element: {
            'id': element['id'],
            'label': tf.cast(parse(element, label_key), tf.int32),
        },
        load_image=lambda element: parse(element, image_key),
        name=name,
        is_indexed=False,
    )


def _prepared_builder(config: ConfigDict) -> Any:
    import tensorflow_datasets as tfds

    name, folder = config.data.name, config.data.dir
    if ':' in name:  # TFDS would fetch the code of such a data set, and run it
        raise InputError(
            f'config.data.name = {name!r}: expected a data set without a namespace; prepare it '
            'with TFDS, and name its folder with config.data.dir'
        )
    where = folder or tfds.core.constants.DATA_DIR
    try:
        builder = _builder_from_files(name, folder) or tfds.builder(name, data_dir=folder or None)
    except (tfds.core.registered.DatasetNotFoundError, ValueError) as error:
        reason = str(error).strip().split('\n')[0]
        raise InputError(
            f'config.data.name = {name!r}: expected a data set that TFDS knows or that lies '
            f'prepared in {where} (config.data.dir); found none: {reason}'
        ) from None
    except json_format.ParseError as error:
        reason = str(error).strip().split('\n')[0]
        raise InputError(
            f'{name}: expected the description of a TFDS data set in {where}, found a damaged one: '
            f'{reason}; prepare it again'
        ) from None
    if not builder.info.splits:
        raise InputError(_how_to_prepare(name, where))
    return builder


def _builder_from_files(name: str, folder: str) -> Any:
    """Returns what lies in a named folder, whatever features TFDS's own code for it expects."""
    from tensorflow_datasets.core import read_only_builder, registered

    try:
        return read_only_builder.builder_from_files(name, data_dir=folder) if folder else None
    except registered.DatasetNotFoundError:
        return None


def _how_to_prepare(name: str, where: str) -> str:
    archives = ''
    if name == 'imagenet2012':
        archives = (
            '  1. Get ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar from image-net.org\n'
            f'     and put them into {where}/downloads/manual\n'
        )
    number = 2 if archives else 1
    return (
        f'{name}: expected the data set prepared by TFDS in {where} (config.data.dir), '
        f'found nothing there. Prepare it once:\n{archives}'
        f'  {number}. tfds build {name} --data_dir={where}\n'
        'Meanwhile, the embedded digits need no data: --config=configs/resnet18.py:digits'
    )


def _supervised_keys(info: Any) -> tuple[str, str]:
    import tensorflow_datasets as tfds

    keys = info.supervised_keys
    kinds = (_is_image, lambda feature: isinstance(feature, tfds.features.ClassLabel))
    if keys is None:
        named = [[k for k, f in info.features.items() if is_kind(f)] for is_kind in kinds]
        keys = tuple(found[0] for found in named if len(found) == 1)
    features = [info.features[key] for key in keys if key in info.features]
    if len(features) != 2 or not all(map(lambda is_kind, f: is_kind(f), kinds, features)):
        raise InputError(
            f'config.data.name = {info.name!r}: expected a data set for image classification '
            f'(supervised keys of an image and a class), found {keys}'
        )
    return keys


def _is_image(feature: Any) -> bool:
    """Says whether a feature is an encoded image, or pixels as `prepare --encoding=raw` writes."""
    import tensorflow_datasets as tfds

    if isinstance(feature, tfds.features.Image):
        return True
    shape = feature.shape
    is_tensor = isinstance(feature, tfds.features.Tensor) and feature.np_dtype == np.uint8
    return is_tensor and len(shape) == 3 and shape[-1] == 3


def _require_tfrecord(info: Any) -> None:
    if info.file_format.value != 'tfrecord':
        raise InputError(
            f'{info.name}: expected files in the format tfrecord, found {info.file_format.value}; '
            'prepare it again with --file_format=tfrecord'
        )


def _record_elements(files: list[Any], group_files: int) -> Callable[..., tf.data.Dataset]:
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
