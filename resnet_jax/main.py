"""Trains: `python -m resnet_jax.main --config=configs/resnet18.py [--workdir=DIR]`.

The same command again continues from the latest checkpoint.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags as absl_flags

from resnet_jax import base_config, flags

_CONFIG = flags.define_config()
_WORKDIR = absl_flags.DEFINE_string(
    'workdir', '', 'Folder of the run. Default: runs/<config name>[-<data>].'
)


def main(arguments: Sequence[str]) -> None:
    """Trains the config in its folder."""
    flags.require_no_arguments(arguments)
    from resnet_jax.monitoring import terminal
    from resnet_jax.training import loop

    folder = Path(_WORKDIR.value) if _WORKDIR.value else base_config.RUNS / flags.config_name()
    loop.train(_CONFIG.value, folder, terminal.set_up_logging())


if __name__ == '__main__':
    flags.run(main)
