"""Config files: the one that `--config=FILE` or `--config=NAME` means."""

import os
from pathlib import Path

from resnet_jax.errors import InputError

_PACKAGE = Path(__file__).parents[1]


def find_config(value: str) -> str:
    """Returns the value of `--config` with the path of an existing file in it.

    Args:
      value: `FILE` or `FILE:DATA`, the path of a config file; or `NAME` or `NAME:DATA`, the name of
        a config of this project, such as `resnet18`, which is found from every working folder. A
        file of that name in the working folder takes precedence.

    Raises:
      InputError: if there is no such file.
    """
    path, colon, data = value.partition(':')
    configs = {file.stem: file for file in sorted(_folder().glob('[!_]*.py'))}
    file = Path(os.path.expanduser(path))  # noqa: PTH111 (as in flags.py)
    if not file.is_file():
        if path not in configs:
            raise InputError(
                f'--config={value}: expected a config file, such as configs/resnet18.py or '
                f'configs/resnet18.py:digits, or the name of a config: {", ".join(configs)}; found '
                f'no file {path!r}'
            )
        file = configs[path]
    return f'{file}{colon}{data}'


def _folder() -> Path:
    """Returns the folder of the configs: in an installed package, or next to it in a clone."""
    installed = _PACKAGE / 'configs'
    return installed if installed.is_dir() else _PACKAGE.parent / 'configs'
