"""Cache of compiled programs on the disk: a program that was compiled before is read instead."""

import hashlib
import os
import platform
from pathlib import Path

MIN_COMPILE_SECONDS = 0.1
"""Programs that compile faster are not kept."""

MAX_BYTES = 4 * 2**30
"""Size of a folder; the programs that were not used for longest are deleted first."""


def default_folder() -> str:
    """Returns `JAX_COMPILATION_CACHE_DIR` if it is set, else a folder in the user's cache."""
    caches = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
    return os.environ.get('JAX_COMPILATION_CACHE_DIR') or f'{caches}/resnet_jax'


def use(folder: str) -> None:
    """Keeps compiled programs in a folder and reads them from there.

    The folder holds machine code, so only its owner may write there. A program compiled for one CPU
    may crash another, so each kind of CPU has its own folder inside. Everything works without
    a cache, so a folder that cannot be written is only a warning.

    Args:
      folder: created if it is missing; '' for no cache.
    """
    import jax
    from absl import logging

    if not folder:
        jax.config.update('jax_compilation_cache_dir', None)
        return
    try:
        path = Path(folder).expanduser() / f'{_describe_cpu()}-limited'
        str(path).encode()  # XLA takes no other paths
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.stat()
        if not os.access(path, os.W_OK):
            raise PermissionError(13, 'Permission denied', str(path))
        if status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise PermissionError(13, 'others may write there', str(path))
        _delete_half_written(path)
    except (OSError, RuntimeError, UnicodeError) as error:  # RuntimeError: there is no home folder
        logging.warning(
            '--compilation_cache_dir=%s: expected a folder that can be written, found: %s; going '
            'on without it, so every start compiles again',
            folder,
            getattr(error, 'strerror', None) or error,
        )
        jax.config.update('jax_compilation_cache_dir', None)
        return
    jax.config.update('jax_compilation_cache_dir', str(path))
    jax.config.update('jax_compilation_cache_max_size', MAX_BYTES)
    jax.config.update('jax_persistent_cache_min_compile_time_secs', MIN_COMPILE_SECONDS)


def _delete_half_written(path: Path) -> None:
    """Deletes programs without a time of use, which a killed process leaves.

    JAX writes the program first and then the time, and fails to limit the size of the folder if a
    time is missing.
    """
    for program in path.glob('*-cache'):
        if not program.with_name(f'{program.name.removesuffix("-cache")}-atime').exists():
            program.unlink(missing_ok=True)


def _describe_cpu() -> str:
    """Returns a name of this kind of CPU: equal names can run the same machine code."""
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        lines = [platform.processor()]
    prefixes = ('model name', 'flags', 'Features', 'CPU part')
    abilities = sorted({line for line in lines if line.startswith(prefixes)}) or lines[:1]
    digest = hashlib.sha256('\n'.join(abilities).encode()).hexdigest()
    return f'{platform.machine()}-{digest[:12]}'
