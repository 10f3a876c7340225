"""Paths of the images to predict, from the paths, folders and patterns that a user names."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from absl import logging

from resnet_jax.data.file_names import printable
from resnet_jax.data.sources.image_files import IMAGE_SUFFIXES, LeftOut, list_images
from resnet_jax.errors import InputError


def expand_images(arguments: Sequence[str]) -> list[str]:
    """Returns the paths of images, in the order of the arguments.

    A folder stands for the images in it and in the folders inside it, sorted; the log says what is
    left out. A pattern with `*`, `?`, `[...]` or `**` (any number of folders), which the shell has
    not expanded, stands for what it matches, sorted. Any other argument is the path of an image,
    which need not exist; so is the name of an existing file with such characters.

    Raises:
      InputError: if there are no arguments, if one is empty, if a folder or pattern has no images,
        or if a folder cannot be read.
    """
    if not arguments or '' in arguments:
        given = 'an empty path' if arguments else 'none'
        raise InputError(
            f'expected at least one image after the flags, found {given}; add its path'
        )
    paths: list[str] = []
    for argument in map(os.path.expanduser, arguments):  # noqa: PTH111
        images = dict.fromkeys(path for match in _match(argument) for path in _list(match))
        if not images:
            raise InputError(
                f'{printable(argument)}: expected a folder with images '
                f'({", ".join(IMAGE_SUFFIXES)}) or a pattern that matches images, found none'
            )
        paths += images
    return paths


def _match(argument: str) -> list[str]:
    """Returns what a pattern matches, or the argument itself if it is no pattern."""
    if not glob.has_magic(argument) or os.path.lexists(argument):
        return [argument]
    return sorted(glob.glob(argument, recursive=True))  # noqa: PTH207


def _list(path: str) -> list[str]:
    """Returns the paths of the images in a folder, or the path itself if it is no folder."""
    if not os.path.isdir(path):  # noqa: PTH112 (which raises an error for a long name)
        return [path]
    left_out = LeftOut()
    images = list_images(Path(path), printable(path), left_out)
    if left_out:
        logging.info('%s: %s', printable(path), left_out)
    return images
