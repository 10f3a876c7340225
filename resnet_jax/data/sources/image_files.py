"""Listing of the image files in a folder, and of what is left out."""

import os
from collections.abc import Iterator
from pathlib import Path

from resnet_jax.console.wording import format_count
from resnet_jax.data.file_names import printable
from resnet_jax.errors import InputError

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.gif', '.bmp', '.webp')

NUM_REASONS = 8  # that a message lists one by one


class LeftOut:
    """Files and folders that are left out, by reason, such as '.txt' or 'hidden'."""

    def __init__(self) -> None:
        self._paths: dict[str, list[str]] = {}

    def add(self, reason: str, path: str) -> None:
        """Adds a file or folder."""
        self._paths.setdefault(reason, []).append(path)

    def __bool__(self) -> bool:
        return bool(self._paths)

    def __str__(self) -> str:
        """Returns '3 files or folders are left out: 2 .txt (such as a/b.txt), 1 hidden (a/.c)'."""
        by_number = sorted(self._paths.items(), key=lambda item: -len(item[1]))
        listed = by_number[:NUM_REASONS]
        others = [path for _, paths in by_number[NUM_REASONS:] for path in paths]
        reasons = [
            f'{len(paths)} {reason} ({"such as " if len(paths) > 1 else ""}{printable(paths[0])})'
            for reason, paths in listed + ([('others', others)] if others else [])
        ]
        total = sum(map(len, self._paths.values()))
        verb = 'is' if total == 1 else 'are'
        noun = format_count(total, 'file or folder', 'files or folders')
        return f'{noun} {verb} left out: {", ".join(reasons)}'


def list_subfolders(folder: Path, subject: str, left_out: LeftOut) -> list[str]:
    """Returns the sorted names of the folders in a folder; everything else is left out.

    Args:
      folder: the folder.
      subject: beginning of error messages.
      left_out: list to which what is left out of this folder is added.

    Raises:
      InputError: if the folder cannot be read.
    """
    names = []
    for entry in _entries(folder, subject):
        if entry.name.startswith('.'):
            left_out.add('hidden', entry.path)
        elif _is_folder(entry):
            names.append(entry.name)
        else:
            left_out.add('outside the folders of classes', entry.path)
    return names


def list_images(folder: Path, subject: str, left_out: LeftOut) -> list[str]:
    """Returns the sorted paths of the images in a folder and in the folders inside it.

    A folder to which several links lead is read once, and a link to a folder above is left out, so
    links in a circle do no harm. Arguments and errors are those of `list_subfolders`.
    """
    paths = []
    visited = {_identity(above) for above in Path(os.path.realpath(folder)).parents}
    waiting = [os.fspath(folder)]
    while waiting:
        inner = waiting.pop()
        if _identity(inner) in visited:
            left_out.add('link to a folder that is read already', inner)
            continue
        visited.add(_identity(inner))
        folders = []
        for entry in _entries(inner, subject):
            if entry.name.startswith('.'):
                left_out.add('hidden', entry.path)
            elif _is_folder(entry):
                folders.append(entry.path)
            elif not entry.name.lower().endswith(IMAGE_SUFFIXES):
                left_out.add(_suffix(entry.name), entry.path)
            elif not _is_file(entry):
                left_out.add('broken link or no regular file', entry.path)
            else:
                paths.append(entry.path)
        waiting += folders[::-1]
    return sorted(paths)


def _identity(folder: str | Path) -> tuple[int, int]:
    """Returns what a folder has in common with the links to it."""
    status = os.stat(folder)  # noqa: PTH116
    return status.st_dev, status.st_ino


def _entries(folder: str | Path, subject: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return iter(sorted(entries, key=lambda entry: entry.name))
    except OSError as error:
        reason = error.strerror
    except ValueError as error:  # a path that no folder can have
        reason = str(error)
    raise InputError(f'{subject}: expected a folder {printable(folder)}, found: {reason}')


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _suffix(name: str) -> str:
    suffix = Path(name).suffix.lower()
    return printable(suffix) if suffix else 'without a suffix'
