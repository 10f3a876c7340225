"""The devices of this process, what lies on them, and the only `pmap` of the project.

A state is replicated by sharding and has no leading device axis; a batch has one, `[D, N/D, ...]`.
"""

import contextlib
import os
from collections.abc import Callable
from typing import Any

import jax
import jaxlib
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from resnet_jax import validation
from resnet_jax.types import InputError

AXIS = 'batch'
"""The name of the axis over which steps average and synchronise."""

SIMULATED_DEVICES = 4
"""How many CPU devices stand for the four GPUs of the experiment."""

_TESTED_JAXLIB = '0.10.2'


def start_devices(num_devices: int) -> Mesh:
    """Starts the backend and returns the devices that train.

    Args:
      num_devices: 0 means every GPU, or four simulated CPU devices on a machine without one.

    Raises:
      InputError: when there are fewer devices than that.
    """
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
    return Mesh(np.array(devices[:wanted]), (AXIS,))


def all_devices() -> Mesh:
    """Returns every device that this process has: the GPUs, or the CPU as JAX was started."""
    _choose_cpu_kernels()
    return Mesh(np.array(jax.local_devices()), (AXIS,))


def _prepare_cpu(num_devices: int) -> None:
    """Asks for simulated devices, unless the backend runs already.

    XLA's thread pool must hold a thread for every device of a collective and some for the work,
    or the devices wait for each other for ever; the variable NPROC sizes it.
    """
    _choose_cpu_kernels()
    os.environ.setdefault('NPROC', str(max(4 * num_devices, os.cpu_count() or 1)))
    with contextlib.suppress(RuntimeError):
        jax.config.update('jax_num_cpu_devices', num_devices)


def _choose_cpu_kernels() -> None:
    """Lets Eigen run convolutions on the CPU: 1.3 times as fast as jaxlib 0.10.2's choice.

    XLA aborts on flags that it does not know, so only that version gets it.
    """
    if jaxlib.__version__ == _TESTED_JAXLIB:
        os.environ.setdefault('XLA_FLAGS', '--xla_cpu_experimental_ynn_fusion_type=dot,reduce')


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
    """Returns the sharding of what every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Puts a whole copy of every array on every device."""
    return jax.device_put(tree, replicated(mesh))


def shard(tree: Any, mesh: Mesh) -> Any:
    """Puts `[N, ...]` host arrays on the devices as `[D, N/D, ...]`, without waiting for it.

    Raises:
      InputError: when the devices cannot share N equally. (`pmap` itself would take three rows on
        four devices and use three.)
    """
    num_devices = mesh.devices.size
    sharding = NamedSharding(mesh, PartitionSpec(AXIS))

    def put(array: np.ndarray) -> jax.Array:
        validation.validate_shares(len(array), num_devices)
        return jax.device_put(array.reshape(num_devices, -1, *array.shape[1:]), sharding)

    return jax.tree.map(put, tree)
