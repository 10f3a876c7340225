"""Processes of a run: start, synchronisation and common decisions."""

import dataclasses
import os
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from resnet_jax.errors import InputError

HEARTBEAT_TIMEOUT_SECONDS = 30
"""If a process gives no sign of life for this long, the others end themselves."""


@dataclasses.dataclass(frozen=True)
class Process:
    """A process among those of a run. Each prepares its own rows of every batch.

    Attributes:
      index: number of the process, from 0.
      count: number of processes.
    """

    index: int
    count: int

    def rows(self, batch_size: int) -> tuple[int, int]:
        """Returns the first row of this process in a batch, and the last one plus 1."""
        share = batch_size // self.count
        return self.index * share, (self.index + 1) * share


ALONE = Process(0, 1)
"""The process of a run that has only one."""


def start_processes(coordinator_address: str, num_processes: int, process_id: int) -> None:
    """Connects this process with the other processes of the run.

    Must be called before any device is used. Without the three arguments ('', 0 and -1), it reads
    them from the environment of SLURM or Open MPI, which start one process per GPU. If neither
    started this process as one of several, the process runs alone.

    Args:
      coordinator_address: host:port of process 0.
      num_processes: number of processes of the run.
      process_id: index of this process, from 0.

    Raises:
      InputError: if only some of the three are given, or if the index is too large.
    """
    given = bool(coordinator_address), num_processes > 0, process_id >= 0
    if not any(given):
        if not _is_launched_with_others():
            return
        arguments: dict[str, Any] = {}
    elif not all(given) or process_id >= num_processes:
        raise InputError(
            f'--coordinator_address={coordinator_address} --num_processes={num_processes} '
            f'--process_id={process_id}: expected all three flags or none, with '
            '0 <= process_id < num_processes'
        )
    else:
        arguments = {
            'coordinator_address': coordinator_address,
            'num_processes': num_processes,
            'process_id': process_id,
        }
    jax.config.update('jax_cpu_collectives_implementation', 'gloo')
    jax.config.update('jax_enable_preemption_service', False)  # it catches SIGTERM
    jax.distributed.initialize(
        **arguments,
        heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT_SECONDS,
        shutdown_timeout_seconds=HEARTBEAT_TIMEOUT_SECONDS,
    )


def _is_launched_with_others() -> bool:
    """Returns whether srun or mpirun started this process as one of several."""
    tasks = os.environ.get('SLURM_NTASKS', '1') if 'SLURM_STEP_ID' in os.environ else '1'
    return max(int(tasks), int(os.environ.get('OMPI_COMM_WORLD_SIZE', '1'))) > 1


def is_first_process() -> bool:
    """Returns whether this process is the one that writes logs and files."""
    return jax.process_index() == 0


def any_process(condition: bool) -> bool:
    """Returns whether the condition holds in any process. All must call this at the same step."""
    if jax.process_count() == 1:
        return condition
    return bool(np.any(multihost_utils.process_allgather(np.array(condition))))


def wait_for_all_processes() -> None:
    """Blocks until every process has called this function."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices('resnet_jax')


def this_process() -> Process:
    """Returns this process's index and the number of processes."""
    return Process(jax.process_index(), jax.process_count())
