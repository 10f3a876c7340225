"""Full and read-only disks for tests."""

import contextlib
import subprocess


@contextlib.contextmanager
def mounted(target, *arguments):
    """Mounts a file system at a folder; yields whether that is permitted."""
    target.mkdir(exist_ok=True)
    if subprocess.run(['mount', *arguments, target], capture_output=True).returncode:
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(['umount', '--lazy', target], check=True)


def fill(folder):
    """Fills the disk of a folder."""
    with (folder / 'filler').open('wb', buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
