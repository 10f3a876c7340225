"""Folders of images as sources: `<dir>/<split>/<class>/*.jpg`, or `<dir>/<class>/*.jpg`.

The second form has no splits. It is used if `config.data.validation_fraction` is not 0: the images
of each class are divided between training and validation.
"""

import hashlib
import os
from pathlib import Path

import tensorflow as tf
from absl import logging
from ml_collections import ConfigDict

from resnet_jax.console.wording import format_count
from resnet_jax.data import class_names
from resnet_jax.data.file_names import printable
from resnet_jax.data.order import indexed_elements
from resnet_jax.data.source import Source
from resnet_jax.data.sources.image_files import (
    IMAGE_SUFFIXES,
    LeftOut,
    list_images,
    list_subfolders,
)
from resnet_jax.errors import InputError


def load_folder(config: ConfigDict, split: str, dir_option: str) -> Source:
    """Opens a split of the folder `config.data.dir`; classes and files are in sorted order.

    Folders inside the folder of a class are read, too. The log says what is left out: once for each
    split, and for a folder without splits only when its training images are listed. The arguments
    are those of `registry.load_source`.
    """
    root = Path(os.path.expanduser(config.data.dir))  # noqa: PTH111
    list_files = _list_part if config.data.validation_fraction else _list_split
    files = list_files(root, config, split, dir_option)
    paths = [path for class_paths in files.values() for path in class_paths]
    class_sizes = [len(class_paths) for class_paths in files.values()]
    labels = tf.repeat(tf.range(len(files)), class_sizes)
    encoded_paths = tf.constant([os.fsencode(path) for path in paths])
    return Source(
        num_examples=len(paths),
        class_names=class_names.describe(files),
        elements=indexed_elements(len(paths)),
        identify=lambda index: {'id': index, 'label': labels[index]},
        load_image=lambda index: tf.io.read_file(encoded_paths[index]),
        name=lambda index: printable(paths[index]),
        is_indexed=True,
    )


def _list_split(
    root: Path, config: ConfigDict, split: str, dir_option: str
) -> dict[str, list[str]]:
    """Returns the paths of a split's images by class, in a folder that has splits."""
    names = list_subfolders(root, f'{dir_option} = {str(root)!r}', LeftOut())
    if split not in names:
        listed = ', '.join(map(printable, names[:10])) + (', ...' if len(names) > 10 else '')
        field = 'train_split' if split == config.data.train_split else 'validation_split'
        advice = _advise(
            'If these are classes, divide their images with --config.data.validation_fraction=0.2; '
            f'if they are splits, choose one with --config.data.{field}=NAME',
            dir_option,
        )
        raise InputError(
            f'split {split!r}: expected a folder {printable(root / split)}, found '
            f'{listed or "no folders"} in {printable(root)}{f". {advice}" if names else ""}'
        )
    return _list_classes(root / split, f'split {split!r}', log_left_out=True)


def _list_part(root: Path, config: ConfigDict, split: str, dir_option: str) -> dict[str, list[str]]:
    """Returns the paths of a split's images by class, in a folder without splits.

    A class with one image has it in training.
    """
    data = config.data
    field = f'config.data.validation_fraction = {data.validation_fraction}'
    splits = (data.train_split, data.validation_split)
    if split not in splits or splits[0] == splits[1]:
        raise InputError(
            f'split {split!r}: expected one of config.data.train_split = {splits[0]!r} and '
            f'config.data.validation_split = {splits[1]!r}, which must differ, because {field}'
        )
    _require_no_splits(root, splits, field, dir_option)
    part = splits.index(split)
    files = _list_classes(root, f'{dir_option} = {str(root)!r}', log_left_out=part == 0)
    single = [name for name, paths in files.items() if len(paths) == 1]
    if single and part == 0:
        logging.warning(
            '%s: %s only one image, which is used for training, and none for validation: %s',
            printable(root),
            format_count(len(single), 'class has', 'classes have'),
            ', '.join(map(printable, single[:10])) + (', ...' if len(single) > 10 else ''),
        )
    if len(single) == len(files):
        raise InputError(
            f'{field}: expected at least one class with 2 images in {printable(root)}, found '
            'one image in each class; add images'
        )
    return {
        name: divide(paths, root, config.seed, data.validation_fraction)[part]
        for name, paths in files.items()
    }


def _require_no_splits(root: Path, splits: tuple[str, ...], field: str, dir_option: str) -> None:
    """Raises `InputError` if a folder of a class is that of a split, with folders of its own."""
    names = list_subfolders(root, f'{dir_option} = {str(root)!r}', LeftOut())
    for name in splits:
        if name in names and list_subfolders(root / name, f'split {name!r}', LeftOut()):
            advice = _advise(
                'to use the splits as they are, set --config.data.validation_fraction=0; to divide '
                f'the images of {name!r}, set --config.data.dir={printable(root / name)}',
                dir_option,
            )
            raise InputError(
                f'{field}: expected the folders of classes in {printable(root)}, found the split '
                f'{name!r}, which has folders of its own; {advice}'
            )


def _advise(advice: str, dir_option: str) -> str:
    """Returns what to do: `advice`, unless the user cannot change the config that it names."""
    can_change = dir_option.startswith('config.')
    return advice if can_change else f'choose another folder with --{dir_option}'


def divide(
    paths: list[str], root: Path, seed: int, validation_fraction: float
) -> tuple[list[str], list[str]]:
    """Divides the images of one class between training and validation.

    The images are ranked by a hash of seed and path, and the first ones are for validation: as many
    as the fraction says, rounded, but at least one, and not all; a single image is for training. So
    a new image moves at most one other image to the other part, and the seed and the names alone
    decide.

    Args:
      paths: paths of the images, sorted.
      root: folder of the data set, to which the hashed paths are relative.
      seed: the run's seed.
      validation_fraction: share of the images for validation, more than 0 and less than 1.

    Returns:
      The paths for training and those for validation, sorted.
    """

    def rank(path: str) -> bytes:
        relative = os.fsencode(path.removeprefix(f'{root}{os.sep}'))
        return hashlib.sha256(b'%d\0%s' % (seed, relative)).digest()

    count = min(max(round(validation_fraction * len(paths)), 1), len(paths) - 1)
    validation = set(sorted(paths, key=rank)[:count])
    return [path for path in paths if path not in validation], sorted(validation)


def _list_classes(folder: Path, subject: str, *, log_left_out: bool) -> dict[str, list[str]]:
    """Returns the sorted paths of the images of each class, by the name of its folder.

    Args:
      folder: folder with a folder for each class.
      subject: beginning of error messages.
      log_left_out: whether the log says what is left out.
    """
    left_out = LeftOut()
    names = list_subfolders(folder, subject, left_out)
    if not names:
        raise InputError(f'{subject}: expected a folder for each class in {printable(folder)}')
    files = {}
    for name in names:
        files[name] = list_images(folder / name, f'{subject}, class {name!r}', left_out)
        if not files[name]:
            raise InputError(
                f'{subject}, class {name!r}: expected images ({", ".join(IMAGE_SUFFIXES)}) in '
                f'{printable(folder / name)}, found none; add images or remove the folder'
                + (f'. {left_out}' if left_out else '')
            )
    if left_out and log_left_out:
        logging.info('%s: %s', printable(folder), left_out)
    return files
