"""Folders of images as sources: `<dir>/<split>/<class>/*.jpg|png`."""

import os
from pathlib import Path

import tensorflow as tf
from ml_collections import ConfigDict

from resnet_jax.data import class_names
from resnet_jax.data.order import indexed_elements
from resnet_jax.data.source import Source
from resnet_jax.errors import InputError

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png')


def load_folder(config: ConfigDict, split: str) -> Source:
    """Opens the folder `<dir>/<split>`; classes and files are in sorted order."""
    root = Path(config.data.dir)
    names = _subfolders(root, f'config.data.dir = {config.data.dir!r}')
    if split not in names:
        raise InputError(
            f'split {split!r}: expected a folder {root / split}, found '
            f'{", ".join(names) or "no folders"} in {root}'
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


def _subfolders(folder: Path, subject: str) -> list[str]:
    """Returns the sorted names of the folders in a folder; `subject` begins error messages."""
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith('.'))
    except OSError as error:
        raise InputError(
            f'{subject}: expected a folder {folder}, found: {error.strerror}'
        ) from None


def _image_files(folder: Path) -> list[str]:
    """Returns the sorted paths of the images in a folder."""
    with os.scandir(folder) as entries:
        return sorted(
            e.path
            for e in entries
            if e.name.lower().endswith(IMAGE_SUFFIXES)
            and not e.name.startswith('.')
            and e.is_file()
        )
