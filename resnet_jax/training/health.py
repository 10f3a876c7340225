"""Health check of a training state: all numbers are finite, and all devices agree."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jax import lax
from jax.sharding import Mesh

from resnet_jax.devices import parallel
from resnet_jax.errors import RunFailed
from resnet_jax.training.state import TrainState


def make_health_check(mesh: Mesh) -> Callable[[TrainState, int, int], None]:
    """Returns `check(state, first_step, step)`, which reads every array once, on the devices.

    If a number is not finite, or if the devices hold different numbers, `check` raises `RunFailed`.
    The message names the steps after the last check, `first_step` to `step`, and the devices that
    differ.
    """

    def inspect(state: TrainState, _: jax.Array) -> tuple[jax.Array, jax.Array]:
        return lax.all_gather((_is_finite(state), _fingerprint(state)), parallel.AXIS)

    p_inspect = parallel.p_map(inspect, mesh)
    dummy = parallel.shard(np.zeros(len(mesh.local_devices), np.int8), mesh)

    def check(state: TrainState, first_step: int, step: int) -> None:
        finite, fingerprints = jax.device_get(p_inspect(state, dummy))
        if not finite.all():
            raise RunFailed(
                f'steps {first_step} to {step}: expected finite parameters and statistics, found '
                'nan or inf. The last checkpoint is older and intact; lower the learning rate, '
                'clip the gradient or warm up longer, in another --workdir'
            )
        deviating = _deviating_devices(fingerprints, mesh)
        if deviating:
            raise RunFailed(
                f'steps {first_step} to {step}: expected the same parameters on every device, '
                f'found different ones on {", ".join(deviating)}. Check this hardware; the same '
                'command continues from the last checkpoint'
            )

    return check


def _is_finite(state: TrainState) -> jax.Array:
    floats = [x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating)]
    return jnp.all(jnp.array([_is_array_finite(x) for x in floats]))


@jax.jit  # traced once for each shape, and there are few shapes
def _is_array_finite(array: jax.Array) -> jax.Array:
    return jnp.all(jnp.isfinite(array))


def _fingerprint(state: TrainState) -> jax.Array:
    """Returns a uint32 that depends on the bits of all arrays.

    It is the sum of the hashes of all 32-bit words; a word's hash depends on its position. For each
    position the hash is a bijection, so a change of a single word always changes the sum.
    """
    total = jnp.uint32(0)
    for number, array in enumerate(jax.tree.leaves(state), 1):
        total += _fingerprint_array(array, jnp.uint32(number * 0x9E3779B9 % 2**32))
    return total


@jax.jit
def _fingerprint_array(array: jax.Array, start: jax.Array) -> jax.Array:
    words = lax.bitcast_convert_type(array, jnp.uint32).ravel()
    positions = _mix(start + lax.iota(jnp.uint32, words.size))
    return jnp.sum(_mix(words ^ positions), dtype=jnp.uint32)


def _mix(words: jax.Array) -> jax.Array:
    """Applies a bijection of uint32 that spreads every bit (Wellons 2018, "lowbias32")."""
    words = (words ^ (words >> 16)) * jnp.uint32(0x7FEB352D)
    words = (words ^ (words >> 15)) * jnp.uint32(0x846CA68B)
    return words ^ (words >> 16)


def _deviating_devices(fingerprints: np.ndarray, mesh: Mesh) -> list[str]:
    """Returns the names of the devices whose fingerprint is not the most common one."""
    values, counts = np.unique(fingerprints, return_counts=True)
    if len(values) == 1:
        return []
    logging.error('fingerprints of the state on each device: %s', fingerprints.tolist())
    most_common = values[np.argmax(counts)]
    return [
        f'device {device.id} of process {device.process_index}'
        for device, fingerprint in zip(mesh.devices.flat, fingerprints, strict=True)
        if fingerprint != most_common
    ]
