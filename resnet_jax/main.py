"""Command that trains a network.

    python -m resnet_jax.main --config=configs/resnet18.py [--workdir=DIR]

The same command, run again, continues from the latest checkpoint.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags as absl_flags

from resnet_jax.config import flags
from resnet_jax.devices import compilation_cache
from resnet_jax.storage import workdir

_CONFIG = flags.define_config()
_WORKDIR = flags.define_path(
    'workdir', '', 'Folder of the run; without it, runs/<config name>[-<data>].'
)
_COORDINATOR_ADDRESS = absl_flags.DEFINE_string(
    'coordinator_address', '', 'Address of process 0 as host:port, in a run of several processes.'
)
_NUM_PROCESSES = absl_flags.DEFINE_integer('num_processes', 0, 'Number of processes of the run.')
_PROCESS_ID = absl_flags.DEFINE_integer('process_id', -1, 'Number of this process, from 0.')
_COMPILATION_CACHE_DIR = flags.define_compilation_cache(compilation_cache.default_folder())


def main(arguments: Sequence[str]) -> None:
    """Trains the network of a config in the folder of its run."""
    flags.require_no_arguments(arguments)
    from resnet_jax.console import signals, terminal
    from resnet_jax.devices import processes
    from resnet_jax.training import loop

    folder = Path(_WORKDIR.value) if _WORKDIR.value else workdir.RUNS / flags.config_name()
    with signals.stop_requests() as request:
        processes.start_processes(
            _COORDINATOR_ADDRESS.value, _NUM_PROCESSES.value, _PROCESS_ID.value
        )
        compilation_cache.use(_COMPILATION_CACHE_DIR.value)
        loop.train(_CONFIG.value, folder, terminal.set_up_logging(), request)


if __name__ == '__main__':
    flags.run(main)
