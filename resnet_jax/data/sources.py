"""Where examples come from: the embedded digits, TFDS, or a folder of images.

A source gives the elements of a split in an order that is a function of a seed alone, from any
position on, and a function that turns an element into an example.
"""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from resnet_jax.data import class_names
from resnet_jax.types import InputError

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png')


@dataclasses.dataclass(frozen=True)
class Source:
    """A split of a data set.

    Attributes:
      num_examples: in the split.
      class_names: one for each label, in index order.
      elements: `elements(seed, start)` gives a `tf.data.Dataset` of the split's elements from
        position `start` (int64 scalar) on: in stored order when `seed` is None, else permuted by
        `seed` (int64 `[2]`).
      identify: turns an element, inside tf.data, into `{'id': int64, 'label': int32}`. The id is
        the position in stored order.
      load_image: turns an element, inside tf.data, into the image: a JPEG or PNG as a string, or
        uint8 `[H, W, 3]`.
      name: says where an example with an id comes from, for messages.
    """

    num_examples: int
    class_names: tuple[str, ...]
    elements: Callable[[tf.Tensor | None, tf.Tensor], tf.data.Dataset]
    identify: Callable[[Any], dict[str, tf.Tensor]]
    load_image: Callable[[Any], tf.Tensor]
    name: Callable[[int], str]

    def read(self, element: Any) -> dict[str, tf.Tensor]:
        """Turns an element, inside tf.data, into an example with id, label and image."""
        return self.identify(element) | {'image': self.load_image(element)}


def load_source(config: ConfigDict, split: str) -> Source:
    """Opens a split of the config's data set.

    Args:
      config: a whole config; `data` is read.
      split: a split's name as the data set has it, such as `config.data.train_split`.

    Raises:
      InputError: when the data is not there or not as described, with what to do about it.
    """
    load = {'digits': _load_digits, 'tfds': _load_tfds, 'folder': _load_folder}
    return load[config.data.source](config, split)


def _indexed_elements(num_examples: int) -> Callable[..., tf.data.Dataset]:
    """Orders a split that can be read at any index: one permutation of all of it an epoch."""

    def elements(seed: tf.Tensor | None, start: tf.Tensor) -> tf.data.Dataset:
        order = tf.range(num_examples, dtype=tf.int64)
        if seed is not None:
            order = tf.random.experimental.stateless_shuffle(order, seed)
        return tf.data.Dataset.from_tensor_slices(order[start:])

    return elements


def _load_digits(config: ConfigDict, split: str) -> Source:
    """Scikit-learn's 1797 scans of handwritten digits, 8x8 px, 1437 for training."""
    from sklearn import datasets, model_selection

    digits = datasets.load_digits()
    levels = np.round(digits.images * (255 / 16)).astype(np.uint8)
    images = np.repeat(levels[..., None], 3, axis=-1)
    labels = digits.target.astype(np.int32)
    train, validation = model_selection.train_test_split(
        np.arange(len(labels)), test_size=360, stratify=labels, random_state=0
    )
    splits = {'train': train, 'validation': validation}
    if split not in splits:
        raise InputError(f'split {split!r} of digits: expected one of {", ".join(splits)}')
    images, labels = tf.constant(images[splits[split]]), tf.constant(labels[splits[split]])
    return Source(
        num_examples=len(labels),
        class_names=tuple(str(digit) for digit in range(10)),
        elements=_indexed_elements(len(labels)),
        identify=lambda index: {'id': index, 'label': labels[index]},
        load_image=lambda index: images[index],
        name=lambda index: f'example {index} of the digits, split {split}',
    )


def _load_folder(config: ConfigDict, split: str) -> Source:
    """`<dir>/<split>/<class>/*.jpg|png`, classes and files in sorted order."""
    root = Path(config.data.dir)
    names = _subfolders(root, f'config.data.dir = {config.data.dir!r}')
    if split not in names:
        raise InputError(
            f'split {split!r}: expected a folder {root / split}; {root} holds '
            f'{", ".join(names) or "no folders"}'
        )
    classes = _subfolders(root / split, f'split {split!r}')
    if not classes:
        raise InputError(f'split {split!r}: expected a folder for each class in {root / split}')
    paths, labels = [], []
    for label, name in enumerate(classes):
        files = _image_files(root / split / name)
        if not files:
            raise InputError(
                f'class {name!r} of split {split!r}: expected images '
                f'({", ".join(IMAGE_SUFFIXES)}) in {root / split / name}, found none'
            )
        paths += files
        labels += [label] * len(files)
    files, labels = tf.constant(paths), tf.constant(labels, tf.int32)
    return Source(
        num_examples=len(labels),
        class_names=class_names.describe(classes),
        elements=_indexed_elements(len(labels)),
        identify=lambda index: {'id': index, 'label': labels[index]},
        load_image=lambda index: tf.io.read_file(files[index]),
        name=lambda index: paths[index],
    )


def _subfolders(folder: Path, what: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith('.'))
    except OSError as error:
        raise InputError(f'{what}: expected a folder, found {error.strerror}: {folder}') from None


def _image_files(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(
            e.path
            for e in entries
            if e.name.lower().endswith(IMAGE_SUFFIXES)
            and not e.name.startswith('.')
            and e.is_file()
        )


def _load_tfds(config: ConfigDict, split: str) -> Source:
    """A data set that TFDS has prepared; its JPEGs and PNGs stay encoded."""
    import tensorflow_datasets as tfds

    info = _prepared_builder(config).info
    image_key, label_key = _supervised_keys(info)
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
    decoders = {image_key: tfds.decode.SkipDecoding()}
    ends = np.cumsum([file.take for file in files])

    def parse(element: dict[str, tf.Tensor], key: str) -> tf.Tensor:
        return info.features.deserialize_example(element['record'], decoders=decoders)[key]

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
        builder = tfds.builder(name, data_dir=folder or None)
    except (tfds.core.registered.DatasetNotFoundError, ValueError) as error:
        reason = str(error).strip().split('\n')[0]
        raise InputError(
            f'config.data.name = {name!r}: expected a data set that TFDS knows or that lies '
            f'prepared in {where} (config.data.dir); found none: {reason}'
        ) from None
    if not builder.info.splits:
        raise InputError(_how_to_prepare(name, where))
    return builder


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
    kinds = (tfds.features.Image, tfds.features.ClassLabel)
    if keys is None:
        named = [[k for k, f in info.features.items() if isinstance(f, kind)] for kind in kinds]
        keys = tuple(found[0] for found in named if len(found) == 1)
    features = [info.features[key] for key in keys if key in info.features]
    if len(features) != 2 or not all(map(isinstance, features, kinds)):
        raise InputError(
            f'config.data.name = {info.name!r}: expected a data set for image classification '
            f'(supervised keys of an image and a class), found {keys}'
        )
    return keys


def _require_tfrecord(info: Any) -> None:
    if info.file_format.value != 'tfrecord':
        raise InputError(
            f'{info.name}: expected files in the format tfrecord, found {info.file_format.value}; '
            'prepare it again with --file_format=tfrecord'
        )


def _record_elements(files: list[Any], group_files: int) -> Callable[..., tf.data.Dataset]:
    """Orders records of files that can only be read from their beginning.

    The files are permuted and cut into groups of `group_files`; the records of a group are read
    together and shuffled in memory. To begin at a position, only its group is read and dropped.
    """
    paths = tf.constant([str(file.filename) for file in files])
    skips = tf.constant([file.skip for file in files], tf.int64)
    takes = tf.constant([file.take for file in files], tf.int64)
    firsts = tf.cumsum(takes, exclusive=True)
    num_groups = -(-len(files) // group_files)

    def read_file(file: tf.Tensor) -> tf.data.Dataset:
        records = tf.data.TFRecordDataset(paths[file], buffer_size=2**20)
        records = records.skip(skips[file]).take(takes[file]).enumerate()
        return records.map(lambda i, record: {'id': firsts[file] + i, 'record': record})

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
        return groups.flat_map(read_group).skip(start - before)

    return elements
