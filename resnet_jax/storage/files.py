"""Atomic file writes, and locks on folders."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from resnet_jax.errors import InputError, RunFailed


def make_folder(path: Path) -> None:
    """Makes a folder in one that is there, unless it is there itself.

    Raises:
      RunFailed: when that is not possible.
    """
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise RunFailed(f'{path}: expected to make this folder, found: {error.strerror}') from None


@contextlib.contextmanager
def locked(folder: Path, flag: str) -> Iterator[None]:
    """Keeps other processes from working in a folder while the block runs.

    Args:
      folder: exists.
      flag: by which it was named, for messages.

    Raises:
      InputError: when another process works in it already.
    """
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context((folder / '.lock').open('w'))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f'{flag}={folder}: expected a folder in which nobody works, and another process '
                'does: wait for it, stop it, or choose another folder'
            ) from None
        except OSError as error:
            raise InputError(
                f'{flag}={folder}: expected a disk that can lock files, found: {error.strerror}'
            ) from None
        yield


def write_text(path: Path, text: str) -> None:
    """Writes a text file whole or not at all, as `write_bytes` does."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all: to a temporary name, to the disk, then in place.

    Raises:
      RunFailed: when it cannot be written.
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
            f'{path}: cannot be written: {error.strerror}. What it held before is whole; make room '
            'or mend the disk, and start the same command again'
        ) from None


def read_text(path: Path) -> str:
    """Reads a text file of a run.

    Raises:
      InputError: when that is not possible.
    """
    try:
        return path.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f'{path}: expected a readable text file of a run: {error}') from None
