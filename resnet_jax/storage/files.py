"""Atomic file writes, temporary paths and locks on folders."""

import contextlib
import errno
import fcntl
import glob
import os
import shutil
import stat
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
    require_regular(folder / '.lock')
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context((folder / '.lock').open('a'))
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


def require_regular(path: Path) -> None:
    """Checks that a path is that of a regular file, or of a new one.

    Commands call this before they start to work, and every writer calls it before it writes: to
    replace `/dev/null` by a file would damage the machine. A symbolic link counts as its target.

    Raises:
      InputError: if the path exists and is anything else, such as a folder or a device.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:  # a new file, or one whose writing will fail and say why
        if error.errno != errno.ELOOP:
            return
        kind = 'a symbolic link to itself'
    else:
        if stat.S_ISREG(mode):
            return
        kinds = {stat.S_IFDIR: 'a folder', stat.S_IFIFO: 'a pipe', stat.S_IFSOCK: 'a socket'}
        kind = kinds.get(stat.S_IFMT(mode), 'a device')
    raise InputError(
        f'{path}: expected a regular file or the name of a new one, found {kind}; choose another '
        'path'
    )


def make_temporary_path(path: Path) -> Path:
    """Returns a path beside `path` where this process can prepare its content.

    First removes what killed processes have left at such paths.
    """
    with contextlib.suppress(OSError):
        for temporary in path.parent.glob(f'.{glob.escape(path.name)}.*.tmp'):
            process = temporary.name.removesuffix('.tmp').rpartition('.')[2]
            if process.isdecimal() and not _is_alive(process):
                shutil.rmtree(temporary) if temporary.is_dir() else temporary.unlink()
    return path.with_name(f'.{path.name}.{os.getpid()}.tmp')


def _is_alive(process: str) -> bool:
    """Returns whether another process of this machine has this number."""
    try:
        number = int(process)
        os.kill(number, 0)  # sends nothing
    except ProcessLookupError:
        return False
    except (OSError, ValueError, OverflowError):
        return True
    return number != os.getpid()


def write_text(path: Path, text: str) -> None:
    """Replaces a text file atomically, as `write_bytes` does."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Replaces a file atomically: after a crash, it holds the old or the new content.

    Writes a temporary file, flushes it to the disk and renames it. If the path is a symbolic link,
    the link stays and its target is replaced.

    Args:
      path: path of the file.
      data: new content.

    Raises:
      InputError: if the path exists and is not a regular file.
      RunFailed: if the file cannot be written.
    """
    require_regular(path)
    target = Path(os.path.realpath(path))
    temporary = make_temporary_path(target)
    try:
        with temporary.open('wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        raise RunFailed(
            f'{path}: cannot be written: {error.strerror}. Its old content is intact; free some '
            'space or repair the disk, and run the same command again'
        ) from None
    finally:  # also when a signal interrupts the command
        with contextlib.suppress(OSError):
            temporary.unlink()


def append_text(path: Path, text: str) -> None:
    """Appends to a text file, which a kill can cut short at any byte.

    Raises:
      InputError: if the path exists and is not a regular file.
      RunFailed: if the file cannot be written.
    """
    require_regular(path)
    try:
        with path.open('a', encoding='utf-8') as file:
            file.write(text)
    except OSError as error:
        raise RunFailed(
            f'{path}: cannot be written: {error.strerror}. The earlier rows are intact; free '
            'some space or repair the disk, and run the same command again'
        ) from None


def read_text(path: Path, errors: str = 'strict') -> str:
    """Reads a text file of a run, with its line breaks as they are.

    Args:
      path: path of the file.
      errors: treatment of bytes that are not UTF-8, as in `bytes.decode`.

    Raises:
      InputError: if the file cannot be read.
    """
    require_regular(path)
    try:
        return path.read_bytes().decode(errors=errors)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f'{path}: expected a readable text file, found: {error}') from None
