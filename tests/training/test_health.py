"""Health check of a state: numbers that are not finite, and devices that differ."""

import functools
import math

import jax
import numpy as np
import optax
import pytest
from jax.sharding import Mesh

from resnet_jax.devices import parallel
from resnet_jax.errors import RunFailed
from resnet_jax.training.health import make_health_check
from resnet_jax.training.state import TrainState

PARTS = ('params', 'batch_stats', 'opt_state', 'ema_params', 'ema_batch_stats')


def make_state():
    """Returns a state of numbers between 0.01 and 0.99; no flipped bit makes them nan or inf."""
    rng = np.random.default_rng(0)

    def draw(*shape):
        return rng.uniform(0.01, 0.99, shape).astype(np.float32)

    params = {'conv': {'kernel': draw(3, 3, 2, 5)}, 'head': {'kernel': draw(7, 3), 'bias': draw(3)}}
    trace = jax.tree.map(lambda array: draw(*array.shape), params)
    return TrainState(
        step=np.int32(12),
        params=params,
        batch_stats={'norm': {'mean': draw(5), 'var': draw(5)}},
        opt_state=(
            optax.TraceState(trace=trace),
            optax.ScaleByScheduleState(count=np.array(12, np.int32)),
        ),
        ema_params=jax.tree.map(lambda array: draw(*array.shape), params),
        ema_batch_stats={'norm': {'mean': draw(5), 'var': draw(5)}},
    )


@functools.cache
def health_check(num_devices):
    mesh = Mesh(np.array(jax.devices()[:num_devices]), (parallel.AXIS,))
    return make_health_check(mesh), mesh


def check(states):
    """Runs the check on a state of which each device has its own copy."""
    run, mesh = health_check(len(states))

    def place(*copies):
        pieces = map(jax.device_put, copies, mesh.devices.flat)
        return jax.make_array_from_single_device_arrays(
            copies[0].shape, parallel.replicated(mesh), list(pieces)
        )

    run(jax.tree.map(place, *states), 8, 12)


def with_changed_leaf(state, leaf, change):
    leaves, treedef = jax.tree.flatten(state)
    leaves[leaf] = np.array(leaves[leaf])
    change(leaves[leaf].reshape(-1))
    return jax.tree.unflatten(treedef, leaves)


def flip(state, leaf, word, bit):
    def change(words):
        words.view(np.uint32)[word] ^= np.uint32(1 << bit)

    return with_changed_leaf(state, leaf, change)


@pytest.mark.parametrize('num_devices', [1, 2, 4])
def test_a_good_state_passes(num_devices):
    check([make_state()] * num_devices)


def test_the_greatest_and_smallest_float32_numbers_are_finite():
    def change(numbers):
        numbers[:3] = np.finfo(np.float32).max, np.finfo(np.float32).min, 1e-45

    check([with_changed_leaf(make_state(), 1, change)] * 4)


@pytest.mark.parametrize('bad', [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize('part', PARTS)
def test_a_number_that_is_not_finite_fails_the_steps(part, bad):
    def change(numbers):
        numbers[len(numbers) // 2] = bad

    state = make_state()
    changed = state.replace(**{part: with_changed_leaf(getattr(state, part), 0, change)})
    with pytest.raises(RunFailed, match='^steps 8 to 12: expected finite'):
        check([changed] * 4)


@pytest.mark.parametrize('device', range(4))
@pytest.mark.parametrize('bad', [math.nan, math.inf])
def test_a_number_that_is_not_finite_on_one_device_only_fails_the_steps(device, bad):
    states = [make_state()] * 4
    states[device] = with_changed_leaf(states[device], 1, lambda numbers: numbers.fill(bad))
    with pytest.raises(RunFailed, match='^steps 8 to 12: expected finite'):
        check(states)


@pytest.mark.parametrize('device', range(4))
def test_a_device_with_another_low_bit_is_named(device):
    states = [make_state()] * 4
    states[device] = flip(states[device], leaf=1, word=40, bit=0)
    named = f'found different ones on device {jax.devices()[device].id} of process 0\\.'
    with pytest.raises(RunFailed, match=f'^steps 8 to 12: expected the same .*{named}'):
        check(states)


def test_several_devices_that_differ_are_all_named():
    states = [make_state()] * 4
    states[0], states[3] = flip(states[0], 1, 0, 3), flip(states[3], 2, 1, 4)
    with pytest.raises(RunFailed, match='on device 0 of process 0, device 3 of process 0\\.'):
        check(states)


@pytest.mark.parametrize('bit', range(32))
def test_a_flip_of_any_bit_in_any_array_is_noticed(bit):
    rng = np.random.default_rng(bit)
    state = make_state()
    for leaf, array in enumerate(jax.tree.leaves(state)):
        states = [state] * 4
        device = rng.integers(4)
        states[device] = flip(state, leaf, rng.integers(array.size), bit)
        with pytest.raises(RunFailed, match=f'on device {device} of process 0\\.'):
            check(states)


@pytest.mark.parametrize('bit', [0, 15, 30, 31])
@pytest.mark.parametrize('words', [(0, 1), (0, 89), (3, 4, 5, 6)])
def test_flips_of_the_same_bit_in_several_words_are_noticed(words, bit):
    states = [make_state()] * 4
    for word in words:
        states[2] = flip(states[2], 1, word, bit)
    with pytest.raises(RunFailed, match='on device 2 of process 0\\.'):
        check(states)


def test_swapped_words_are_noticed():
    def swap(numbers):
        numbers[[3, 50]] = numbers[[50, 3]]

    states = [make_state()] * 4
    states[1] = with_changed_leaf(states[1], 1, swap)
    with pytest.raises(RunFailed, match='on device 1 of process 0\\.'):
        check(states)
