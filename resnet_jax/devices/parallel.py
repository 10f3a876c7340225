"""The devices, what lies on them, and the only `pmap` of the project.

A state is replicated by sharding and has no leading device axis; a batch has one, `[D, N/D, ...]`.
With several processes, each holds its own devices' share of a batch, and all hold the same state.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from resnet_jax.config import checks

AXIS = 'batch'
"""The name of the axis over which steps average and synchronise."""


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
        checks.validate_shares(len(array), num_devices)
        return jax.device_put(array.reshape(num_devices, -1, *array.shape[1:]), sharding)

    return jax.tree.map(put, tree)


def _local(mesh: Mesh) -> Mesh:
    return Mesh(np.array(mesh.local_devices), (AXIS,))
