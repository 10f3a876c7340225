"""Compiled programs on the disk, so that a command that ran before does not compile again."""

import hashlib
import os
import platform
from pathlib import Path

MIN_COMPILE_SECONDS = 0.1
"""Programs that compile faster are not worth a file."""


def default_folder() -> str:
    """Returns JAX's own choice, `JAX_COMPILATION_CACHE_DIR`, or a folder in the user's cache."""
    caches = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
    return os.environ.get('JAX_COMPILATION_CACHE_DIR') or f'{caches}/resnet_jax'


def use(folder: str) -> None:
    """Keeps compiled programs in a folder, and takes them from there.

    Only its owner may write there: it holds machine code. Programs for a CPU may use all that it
    can do, so each kind of CPU has a folder of its own inside. A folder that cannot be written is
    a warning: everything works without.

    Args:
      folder: made if it is not there; '' for none.
    """
    import jax
    from absl import logging

    if not folder:
        jax.config.update('jax_compilation_cache_dir', None)
        return
    try:
        path = Path(folder).expanduser() / _machine()
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
        if not os.access(path, os.W_OK):
            raise PermissionError(13, 'Permission denied', str(path))
        if found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise PermissionError(13, 'others may write there', str(path))
    except (OSError, RuntimeError) as error:  # RuntimeError: nobody's home
        logging.warning(
            '--compilation_cache_dir=%s: expected a folder that can be written, found: %s; going '
            'on without, so every start compiles anew',
            folder,
            getattr(error, 'strerror', None) or error,
        )
        jax.config.update('jax_compilation_cache_dir', None)
        return
    jax.config.update('jax_compilation_cache_dir', str(path))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', MIN_COMPILE_SECONDS)


def _machine() -> str:
    """Returns a name for what this CPU can do."""
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        lines = [platform.processor()]
    abilities = (
        sorted(
            {
                line
                for line in lines
                if line.startswith(('model name', 'flags', 'Features', 'CPU part'))
            }
        )
        or lines[:1]
    )
    digest = hashlib.sha256('\n'.join(abilities).encode()).hexdigest()
    return f'{platform.machine()}-{digest[:12]}'
