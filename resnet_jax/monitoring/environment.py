"""Environment of a run: versions, devices, commit and command line."""

import importlib.metadata
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

_PACKAGES = (
    'jax jaxlib flax optax orbax-checkpoint clu ml-collections numpy tensorflow-cpu '
    'tensorflow-datasets'
)


def describe_environment(devices: Sequence[jax.Device]) -> dict[str, Any]:
    """Returns the environment of a run as a dict that can be written as JSON.

    Args:
      devices: devices that the run uses.
    """
    return {
        'command': sys.argv,
        'commit': _git_commit(),
        'python': platform.python_version(),
        'platform': platform.platform(),
        'packages': {name: _version(name) for name in _PACKAGES.split()},
        'devices': [f'{device.platform}:{device.id} {device.device_kind}' for device in devices],
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return 'not installed'


def _git_commit() -> str:
    """Returns the commit of the code, with '+changes' if there are uncommitted changes."""
    git = ('git', '-C', str(Path(__file__).parent))
    try:
        commit = subprocess.run((*git, 'rev-parse', 'HEAD'), capture_output=True, text=True)
        status = subprocess.run((*git, 'status', '--porcelain'), capture_output=True, text=True)
    except OSError:
        return 'unknown'
    if commit.returncode:
        return 'unknown'
    return commit.stdout.strip() + ('+changes' if status.stdout else '')
