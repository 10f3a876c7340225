"""Batch norm, compared with flax's batch norm and with double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from resnet_jax.models.batch_norm import BatchNorm, normalise

SHAPE = (4, 5, 6, 3)


def draw(seed=0, mean=1.0, deviation=2.0):
    values = np.random.default_rng(seed).normal(mean, deviation, SHAPE)
    return values.astype(np.float32)


def make_variables(use_scale=True):
    params = {'bias': np.array([0.5, -1, 2], np.float32)}
    if use_scale:
        params['scale'] = np.array([1.5, 0.5, -1], np.float32)
    stats = {'mean': np.array([0.1, 2, -1], np.float32), 'var': np.array([1, 2, 3], np.float32)}
    return {'params': params, 'batch_stats': stats}


def make_pair(train, **fields):
    fields |= {'momentum': 0.9, 'epsilon': 1e-5, 'use_running_average': not train}
    return BatchNorm(**fields), nn.BatchNorm(**fields)


@pytest.mark.parametrize('use_scale', [False, True])
def test_names_shapes_and_initial_values_are_those_of_flax(use_scale):
    ours, flax = (
        layer.init(jax.random.key(0), draw()) for layer in make_pair(True, use_scale=use_scale)
    )
    jax.tree.map(np.testing.assert_array_equal, ours, flax)


@pytest.mark.parametrize('use_scale', [False, True])
@pytest.mark.parametrize('train', [False, True])
def test_values_statistics_and_gradients_are_those_of_flax(train, use_scale):
    x, cotangent = draw(), draw(seed=1)
    variables = make_variables(use_scale)
    results = []
    for layer in make_pair(train, use_scale=use_scale):

        def apply(params, x, layer=layer):
            y, updates = layer.apply(variables | {'params': params}, x, mutable='batch_stats')
            return y, updates

        y, vjp, updates = jax.vjp(apply, variables['params'], x, has_aux=True)
        results.append((y, updates, vjp(cotangent)))
    ours, flax = results
    assert jax.tree.structure(ours) == jax.tree.structure(flax)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(flax), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-6 * np.abs(b).max())
    assert all(np.abs(array).max() > 1e-3 for array in jax.tree.leaves(flax[2]))


def test_bfloat16_is_normalised_by_float32_statistics():
    x = jnp.asarray(draw(), jnp.bfloat16)
    layer, flax = make_pair(True, dtype=jnp.bfloat16)
    variables = make_variables()
    y, updates = layer.apply(variables, x, mutable='batch_stats')
    expected, expected_updates = flax.apply(variables, x, mutable='batch_stats')
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(np.float32), expected.astype(np.float32), atol=0.02)
    for a, b in zip(*(jax.tree.leaves(tree) for tree in (updates, expected_updates)), strict=True):
        assert a.dtype == jnp.float32
        np.testing.assert_allclose(a, b, rtol=1e-5)
    gradient = jax.grad(lambda x: layer.apply(variables, x, mutable='batch_stats')[0][0].sum())(x)
    assert gradient.dtype == jnp.bfloat16


@pytest.mark.parametrize('distance', [0.0, 3.0])
def test_the_variance_is_exact_however_large_the_mean_when_the_pivot_is_near_it(distance):
    x = draw(mean=1000.0, deviation=0.1)
    wide = x.astype(np.float64)
    mean, variance = wide.mean((0, 1, 2)), wide.var((0, 1, 2))
    scale, bias = np.ones(3, np.float32), np.zeros(3, np.float32)
    pivot = (mean + 0.1 * distance).astype(np.float32)
    y, batch_mean, batch_variance = normalise(x, scale, bias, pivot, 1e-5, None)
    np.testing.assert_allclose(batch_variance, variance, rtol=1e-4)
    np.testing.assert_allclose(batch_mean, mean, rtol=1e-7)
    expected = (wide - mean) / np.sqrt(variance + 1e-5)
    np.testing.assert_allclose(y, expected, rtol=0, atol=2e-3)  # float32 holds x to 6e-5 = 6e-4 sd


def test_a_constant_channel_gives_the_bias_and_no_nan():
    x = np.full(SHAPE, 1000.3, np.float32)
    layer, _ = make_pair(True)
    variables = make_variables()
    y, updates = layer.apply(variables, x, mutable='batch_stats')
    assert np.isfinite(y).all()
    assert all(np.isfinite(array).all() for array in jax.tree.leaves(updates))
    assert all((array >= 0).all() for array in [updates['batch_stats']['var']])
