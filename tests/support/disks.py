"""Disks that are full or refuse."""

import contextlib
import subprocess


@contextlib.contextmanager
def mounted(target, *arguments):
    """Mounts something at a folder; gives False where that is not permitted."""
    target.mkdir(exist_ok=True)
    if subprocess.run(['mount', *arguments, target], capture_output=True).returncode:
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(['umount', '--lazy', target], check=True)


def fill(folder):
    """Takes all the room that there is."""
    with (folder / 'filler').open('wb', buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
