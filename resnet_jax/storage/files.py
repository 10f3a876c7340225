"""Atomic file writes and locks on folders."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from resnet_jax.errors import InputError, RunFailed


def make_folder(path: Path) -> None:
    """Creates a folder in an existing folder, unless it exists already.

    Raises:
      RunFailed: if the folder cannot be created.
    """
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise RunFailed(
            f'{path}: this folder cannot be created: {error.strerror}. Remove what prevents it, '
            'and run the same command again'
        ) from None


@contextlib.contextmanager
def locked(folder: Path, flag: str) -> Iterator[None]:
    """Keeps a folder locked against other processes while the `with` block runs.

    Args:
      folder: path of an existing folder.
      flag: name of the flag that gave the path, for messages.

    Raises:
      InputError: if another process has locked the folder, or if its disk cannot lock files.
    """
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context((folder / '.lock').open('w'))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f'{flag}={folder}: expected a folder that no other process uses, found one that '
                'another process is using; wait for it, stop it, or choose another folder'
            ) from None
        except OSError as error:
            raise InputError(
                f'{flag}={folder}: expected a disk that can lock files, found: {error.strerror}; '
                'choose a folder on another disk'
            ) from None
        yield


def write_text(path: Path, text: str) -> None:
    """Replaces a text file atomically, as `write_bytes` does."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Replaces a file atomically: after a crash, it holds the old or the new content.

    Writes a temporary file, flushes it to the disk and renames it.

    Args:
      path: path of the file.
      data: new content.

    Raises:
      RunFailed: if the file cannot be written.
    """
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        with temporary.open('wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise RunFailed(
            f'{path}: cannot be written: {error.strerror}. Its old content is intact; free some '
            'space or repair the disk, and run the same command again'
        ) from None


def read_text(path: Path) -> str:
    """Reads a text file of a run.

    Raises:
      InputError: if the file cannot be read.
    """
    try:
        return path.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f'{path}: expected a readable text file, found: {error}') from None
