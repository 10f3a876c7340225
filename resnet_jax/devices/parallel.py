"""Placement of arrays on devices, and the only `pmap` of the project.

A state is replicated over the devices and has no device axis. A batch is split over the D devices
and has a leading device axis, `[D, N/D, ...]`. With several processes, each process holds the share
of the batch for its own devices, and all processes hold the same state.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from resnet_jax.config import checks

AXIS = 'batch'
"""Name of the mapped axis, over which steps average and synchronise."""


def p_map(function: Callable, mesh: Mesh, *, donate: bool = False) -> Callable:
    """Maps `function(replicated, batch)` over the devices.

    Args:
      function: function of the replicated tree and of one device's share of the batch. It must
        reduce or gather all its results over `AXIS`: nothing checks that the devices agree.
      mesh: devices.
      donate: whether the results reuse the memory of the replicated argument and delete it.

    Returns:
      The mapped function. Its results are replicated and have no device axis.
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
    """Returns the sharding of an array of which every device of every process holds a full copy."""
    return NamedSharding(mesh, PartitionSpec())


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Puts a full copy of every host array on each device of this process.

    Every process must pass the same values.
    """
    return jax.device_put(tree, replicated(_local(mesh)))


def across_processes(tree: Any, mesh: Mesh) -> Any:
    """Turns arrays replicated in each process into arrays replicated over all processes.

    Orbax can write only the latter. Nothing is copied.
    """
    sharding = replicated(mesh)

    def join(array: jax.Array) -> jax.Array:
        shards = [shard.data for shard in array.addressable_shards]
        return jax.make_array_from_single_device_arrays(array.shape, sharding, shards)

    return jax.tree.map(join, tree)


def shard(tree: Any, mesh: Mesh) -> Any:
    """Splits `[N, ...]` host arrays over this process's D devices as `[D, N/D, ...]`.

    Does not wait until the arrays are copied.

    Raises:
      InputError: if N is not a multiple of D. (`pmap` itself accepts three rows on four devices and
        uses three devices.)
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
