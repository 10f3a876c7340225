"""The devices, what lies on them, and the only `pmap` of the project.

A state is replicated by sharding and has no leading device axis; a batch has one, `[D, N/D, ...]`.
With several processes, each holds its own devices' share of a batch, and all hold the same state.
"""

import contextlib
import importlib.metadata
import os
from collections.abc import Callable
from typing import Any

import jax
import jaxlib
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from resnet_jax import validation
from resnet_jax.types import InputError

AXIS = 'batch'
"""The name of the axis over which steps average and synchronise."""

SIMULATED_DEVICES = 4
"""How many CPU devices stand for the four GPUs of the experiment."""

HEARTBEAT_TIMEOUT_SECONDS = 30
"""After this long without a sign of life from one process, the others end themselves."""

KEEP_RECOMPUTATION = {'xla_disable_hlo_passes': 'cse_barrier_expander'}
"""Option of XLA's compiler for CPUs, which without it undoes `jax.checkpoint` outside of loops.

The pass takes away the barriers between equal computations, and another one then merges them.
"""

_TESTED_JAXLIB = '0.10.2'


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


def start_devices(num_devices: int, *, deterministic: bool = False) -> Mesh:
    """Starts the backend and returns the devices that train, those of all processes.

    Args:
      num_devices: of this process; 0 means every GPU, or four simulated CPU devices on a machine
        without one.
      deterministic: on GPUs, use only kernels that give the same bits every time.

    Raises:
      InputError: when there are fewer devices than that.
    """
    if deterministic:
        _add_xla_flag('--xla_gpu_deterministic_ops=true')
    _prepare_cpu(num_devices or SIMULATED_DEVICES)
    devices = jax.local_devices()
    on_cpu = devices[0].platform == 'cpu'
    wanted = num_devices or (SIMULATED_DEVICES if on_cpu else len(devices))
    if wanted > len(devices):
        remedy = (
            'JAX had started before, so the number of simulated devices is fixed: set '
            'JAX_NUM_CPU_DEVICES before the process starts'
            if on_cpu
            else f'set it to {len(devices)} or less, or to 0 for all of them'
        )
        raise InputError(
            f'config.num_devices = {num_devices}: expected at least {wanted} devices, found '
            f'{len(devices)} ({devices[0].device_kind}); {remedy}'
        )
    by_process = [
        jax.local_devices(process_index=process)[:wanted] for process in range(jax.process_count())
    ]
    return Mesh(np.concatenate([np.array(devices) for devices in by_process]), (AXIS,))


def all_devices() -> Mesh:
    """Returns every device that this process has: the GPUs, or the CPU as JAX was started."""
    _set_cpu_flags()
    return Mesh(np.array(jax.local_devices()), (AXIS,))


def start_one_cpu() -> Mesh:
    """Returns one CPU device and leaves GPUs alone, for what is compiled and not run."""
    _set_cpu_flags()
    jax.config.update('jax_platforms', 'cpu')
    return Mesh(np.array(jax.devices('cpu')[:1]), (AXIS,))


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


def process() -> tuple[int, int]:
    """Returns this process's index and the number of processes."""
    return jax.process_index(), jax.process_count()


def _prepare_cpu(num_devices: int) -> None:
    """Asks for simulated devices, unless the backend runs already.

    XLA's thread pool must hold a thread for every device of a collective and some for the work,
    or the devices wait for each other for ever; the variable NPROC sizes it.
    """
    _set_cpu_flags()
    os.environ.setdefault('NPROC', str(max(4 * num_devices, os.cpu_count() or 1)))
    with contextlib.suppress(RuntimeError):
        jax.config.update('jax_num_cpu_devices', num_devices)


def _set_cpu_flags() -> None:
    """Sets flags of XLA for CPUs, unless the user has set some.

    Eigen runs convolutions 1.3 times as fast as jaxlib 0.10.2's choice; XLA aborts on flags that it
    does not know, so only that version gets them. `KEEP_RECOMPUTATION` is not for GPUs, so it is
    left out where JAX has a plugin for some.
    """
    flags = os.environ.get('XLA_FLAGS', '').replace('--xla_gpu_deterministic_ops=true', '').strip()
    if jaxlib.__version__ != _TESTED_JAXLIB or flags:
        return
    _add_xla_flag('--xla_cpu_experimental_ynn_fusion_type=dot,reduce')
    if not importlib.metadata.entry_points(group='jax_plugins'):
        for name, value in KEEP_RECOMPUTATION.items():
            _add_xla_flag(f'--{name}={value}')


def _add_xla_flag(flag: str) -> None:
    flags = os.environ.get('XLA_FLAGS', '')
    if flag not in flags.split():
        os.environ['XLA_FLAGS'] = f'{flags} {flag}'.strip()


def p_map(function: Callable, mesh: Mesh, *, donate: bool = False) -> Callable:
    """Maps `function(replicated, batch)` over the devices.

    Args:
      function: gets the replicated tree and its device's share of the batch. It must reduce or
        gather over `AXIS` all that it returns: nothing checks that the devices agree.
      mesh: the devices.
      donate: give the replicated argument's memory to the result.

    Returns:
      The mapped function; its results are replicated and have no device axis.
    """
    return jax.pmap(
        function,
        axis_name=AXIS,
        in_axes=(None, 0),
        out_axes=None,
        devices=list(mesh.devices.flat),
        donate_argnums=(0,) if donate else (),
    )


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of what every device of every process holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Puts a whole copy of every host array on each of this process's devices.

    Every process must put the same.
    """
    return jax.device_put(tree, replicated(_local(mesh)))


def across_processes(tree: Any, mesh: Mesh) -> Any:
    """Describes arrays that each process has replicated as arrays replicated over all processes.

    Orbax writes only those; nothing is copied.
    """
    sharding = replicated(mesh)

    def join(array: jax.Array) -> jax.Array:
        shards = [shard.data for shard in array.addressable_shards]
        return jax.make_array_from_single_device_arrays(array.shape, sharding, shards)

    return jax.tree.map(join, tree)


def shard(tree: Any, mesh: Mesh) -> Any:
    """Puts `[N, ...]` host arrays on this process's D devices as `[D, N/D, ...]`, without waiting.

    Raises:
      InputError: when the devices cannot share N equally. (`pmap` itself would take three rows on
        four devices and use three.)
    """
    local = _local(mesh)
    num_devices = local.devices.size
    sharding = NamedSharding(local, PartitionSpec(AXIS))

    def put(array: np.ndarray) -> jax.Array:
        validation.validate_shares(len(array), num_devices)
        return jax.device_put(array.reshape(num_devices, -1, *array.shape[1:]), sharding)

    return jax.tree.map(put, tree)


def _local(mesh: Mesh) -> Mesh:
    return Mesh(np.array(mesh.local_devices), (AXIS,))
