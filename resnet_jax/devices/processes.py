"""Processes of a run: start, synchronisation and common decisions."""

import dataclasses
import os
import re
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from resnet_jax.errors import InputError, RunFailed

HEARTBEAT_TIMEOUT_SECONDS = 30
"""If a process gives no sign of life for this long, the others end themselves."""


MAX_PROCESSES = 2**16


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
      InputError: if only some of the three are given, if one is out of its range, or if SLURM's or
        Open MPI's environment is not as expected.
      RunFailed: if the processes do not find each other.
    """
    given = bool(coordinator_address), num_processes > 0, process_id >= 0
    if not any(given):
        if not _is_launched_with_others():
            return
        arguments: dict[str, Any] = {}
    elif not all(given) or not process_id < num_processes <= MAX_PROCESSES:
        raise InputError(
            f'--coordinator_address={coordinator_address} --num_processes={num_processes} '
            f'--process_id={process_id}: expected all three flags or none, with '
            f'0 <= process_id < num_processes <= {MAX_PROCESSES}'
        )
    else:
        _require_address(coordinator_address)
        arguments = {
            'coordinator_address': coordinator_address,
            'num_processes': num_processes,
            'process_id': process_id,
        }
    jax.config.update('jax_cpu_collectives_implementation', 'gloo')
    jax.config.update('jax_enable_preemption_service', False)  # it catches SIGTERM
    try:
        jax.distributed.initialize(
            **arguments,
            heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT_SECONDS,
            shutdown_timeout_seconds=HEARTBEAT_TIMEOUT_SECONDS,
        )
    except (ValueError, KeyError) as error:  # a variable that JAX reads besides those below
        raise InputError(
            'expected the environment of srun or mpirun, in which JAX finds the other processes; '
            f'found: {error}; give --coordinator_address, --num_processes and --process_id'
        ) from None
    except RuntimeError as error:
        raise RunFailed(
            f'process {arguments.get("process_id", "of this task")} cannot connect with the '
            f'others: {error}; check that all were started, and that the address of process 0 is '
            'within reach and its port free'
        ) from None


def _require_address(address: str) -> None:
    """Raises `InputError` if an address is not that of a port of a host."""
    host, _, port = address.rpartition(':')
    is_whole = re.fullmatch(r'[\w.-]+|\[[0-9A-Fa-f:.%\w]+\]', host, re.ASCII)
    if not (is_whole and re.fullmatch('[0-9]{1,5}', port) and 0 < int(port) < 2**16):
        raise InputError(
            f'--coordinator_address={address}: expected host:port with a port of 1 to 65535, such '
            'as 10.0.0.1:1234 or [::1]:1234'
        )


def _is_launched_with_others() -> bool:
    """Returns whether srun or mpirun started this process as one of several."""
    by_slurm = 'SLURM_STEP_ID' in os.environ and _read_count('SLURM_NTASKS') > 1
    return by_slurm or _read_count('OMPI_COMM_WORLD_SIZE') > 1


def _read_count(variable: str) -> int:
    """Returns the number of processes that an environment variable holds; 1 if it is not set.

    Raises:
      InputError: if it holds anything else.
    """
    text = os.environ.get(variable, '1')
    if not re.fullmatch('[0-9]{1,9}', text) or not 0 < int(text) <= MAX_PROCESSES:
        raise InputError(
            f'the environment variable {variable}={text[:20]}: expected the number of processes, '
            f'1 to {MAX_PROCESSES}, which srun or mpirun sets; unset it to run one process'
        )
    return int(text)


def is_first_process() -> bool:
    """Returns whether this process is the one that writes logs and files."""
    return jax.process_index() == 0


def largest(number: int) -> int:
    """Returns the largest number of all processes. All must call this at the same step."""
    if jax.process_count() == 1:
        return number
    return int(np.max(multihost_utils.process_allgather(np.array(number, np.int32))))


def wait_for_all_processes() -> None:
    """Blocks until every process has called this function."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices('resnet_jax')


def this_process() -> Process:
    """Returns this process's index and the number of processes."""
    return Process(jax.process_index(), jax.process_count())
