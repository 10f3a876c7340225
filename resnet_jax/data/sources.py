"""Where examples come from: the embedded digits, TFDS, or a folder of images."""

import os
from pathlib import Path

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from resnet_jax.data import class_names, records
from resnet_jax.data.split import Source, indexed_elements
from resnet_jax.types import InputError

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png')


def load_source(config: ConfigDict, split: str) -> Source:
    """Opens a split of the config's data set.

    Args:
      config: a whole config; `data` is read.
      split: a split's name as the data set has it, such as `config.data.train_split`.

    Raises:
      InputError: when the data is not there or not as described, with what to do about it.
    """
    load = {'digits': _load_digits, 'tfds': records.load_tfds, 'folder': _load_folder}
    return load[config.data.source](config, split)


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
        elements=indexed_elements(len(labels)),
        identify=lambda index: {'id': index, 'label': labels[index]},
        load_image=lambda index: images[index],
        name=lambda index: f'example {index} of the digits, split {split}',
        is_indexed=True,
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
        elements=indexed_elements(len(labels)),
        identify=lambda index: {'id': index, 'label': labels[index]},
        load_image=lambda index: tf.io.read_file(files[index]),
        name=lambda index: paths[index],
        is_indexed=True,
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
