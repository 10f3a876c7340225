"""Checks that a state is worth saving: all numbers finite, all devices of one mind."""

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

    It raises `RunFailed` when the steps from `first_step` to `step` made a number that is not
    finite, or left devices with different numbers; it names the steps or the devices.
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
                'nan or inf. The last checkpoint is from before: lower the learning rate, clip the '
                'gradient or warm up longer in another --workdir'
            )
        different = _different_devices(fingerprints, mesh)
        if different:
            raise RunFailed(
                f'steps {first_step} to {step}: expected the same parameters on every device, '
                f'found others on {", ".join(different)}. Check that hardware; the same command '
                'continues from the last checkpoint'
            )

    return check


def _is_finite(state: TrainState) -> jax.Array:
    floats = [x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating)]
    return jnp.all(jnp.array([_is_array_finite(x) for x in floats]))


@jax.jit  # traced once for each shape, of which there are few
def _is_array_finite(array: jax.Array) -> jax.Array:
    return jnp.all(jnp.isfinite(array))


def _fingerprint(state: TrainState) -> jax.Array:
    """Returns a uint32 of the bits of all arrays: the sum of a hash of each word and its place.

    The hash is a bijection for each place, so a difference in one word always shows.
    """
    total = jnp.uint32(0)
    for number, array in enumerate(jax.tree.leaves(state), 1):
        total += _fingerprint_array(array, jnp.uint32(number * 0x9E3779B9 % 2**32))
    return total


@jax.jit
def _fingerprint_array(array: jax.Array, start: jax.Array) -> jax.Array:
    words = lax.bitcast_convert_type(array, jnp.uint32).ravel()
    places = _mix(start + lax.iota(jnp.uint32, words.size))
    return jnp.sum(_mix(words ^ places), dtype=jnp.uint32)


def _mix(words: jax.Array) -> jax.Array:
    """Returns a bijection of uint32 that spreads every bit (Wellons 2018, "lowbias32")."""
    words = (words ^ (words >> 16)) * jnp.uint32(0x7FEB352D)
    words = (words ^ (words >> 15)) * jnp.uint32(0x846CA68B)
    return words ^ (words >> 16)


def _different_devices(fingerprints: np.ndarray, mesh: Mesh) -> list[str]:
    """Names the devices whose fingerprint is not that of most."""
    values, counts = np.unique(fingerprints, return_counts=True)
    if len(values) == 1:
        return []
    logging.error('fingerprints of the state on each device: %s', fingerprints.tolist())
    usual = values[np.argmax(counts)]
    return [
        f'device {device.id} of process {device.process_index}'
        for device, fingerprint in zip(mesh.devices.flat, fingerprints, strict=True)
        if fingerprint != usual
    ]
