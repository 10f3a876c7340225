"""The processes of a run: joining them, and what they agree on."""

import os

import jax
import numpy as np
from jax.experimental import multihost_utils

from resnet_jax.errors import InputError

HEARTBEAT_TIMEOUT_SECONDS = 30
"""After this long without a sign of life from one process, the others end themselves."""


def start_processes(coordinator_address: str, num_processes: int, process_id: int) -> None:
    """Joins the other processes of a run, before any device is touched.

    Args:
      coordinator_address: host:port of process 0; '' to find everything in the environment of
        SLURM or Open MPI, which start one process a GPU, or to run alone where there is none.
      num_processes: of the run.
      process_id: of this one, from 0.

    Raises:
      InputError: when the three do not fit together.
    """
    given = bool(coordinator_address), num_processes > 0, process_id >= 0
    if not any(given):
        if not _is_launched_with_others():
            return
        arguments = {}
    elif not all(given) or process_id >= num_processes:
        raise InputError(
            f'--coordinator_address={coordinator_address} --num_processes={num_processes} '
            f'--process_id={process_id}: expected all three, with 0 <= process_id < num_processes'
        )
    else:
        arguments = {
            'coordinator_address': coordinator_address,
            'num_processes': num_processes,
            'process_id': process_id,
        }
    jax.config.update('jax_cpu_collectives_implementation', 'gloo')
    jax.config.update('jax_enable_preemption_service', False)  # it would take SIGTERM for itself
    jax.distributed.initialize(
        **arguments,
        heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT_SECONDS,
        shutdown_timeout_seconds=HEARTBEAT_TIMEOUT_SECONDS,
    )


def _is_launched_with_others() -> bool:
    """Says whether srun or mpirun started this process as one of several."""
    tasks = os.environ.get('SLURM_NTASKS', '1') if 'SLURM_STEP_ID' in os.environ else '1'
    return max(int(tasks), int(os.environ.get('OMPI_COMM_WORLD_SIZE', '1'))) > 1


def is_first_process() -> bool:
    """Says whether this process is the one that writes logs and files."""
    return jax.process_index() == 0


def any_process(condition: bool) -> bool:
    """Says whether the condition holds in any process; all must ask at the same step."""
    if jax.process_count() == 1:
        return condition
    return bool(np.any(multihost_utils.process_allgather(np.array(condition))))


def wait_for_all_processes() -> None:
    """Returns when every process has come here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices('resnet_jax')


def index_and_count() -> tuple[int, int]:
    """Returns this process's index and the number of processes."""
    return jax.process_index(), jax.process_count()
