"""Convolution and pooling: equivalence of their implementations and their use on each platform."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax.models import convolution, pooling


def draw(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def loop_convolution(x, kernel, stride):
    """Convolves pixel by pixel, in double precision."""
    size = kernel.shape[0]
    pad = (size - 1) // 2
    padded = np.pad(x.astype(np.float64), ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    rows, columns = range(0, x.shape[1], stride), range(0, x.shape[2], stride)
    return np.stack(
        [
            np.stack(
                [
                    np.tensordot(padded[:, i : i + size, j : j + size], kernel, axes=3)
                    for j in columns
                ],
                axis=1,
            )
            for i in rows
        ],
        axis=1,
    )


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('size', [1, 3, 7])
def test_patches_are_the_convolution_in_value_and_gradient(size, stride):
    kernel = draw((size, size, 3, 5), seed=1)
    for height in range(1, 10):
        x = draw((2, height, 10 - height, 3))
        expected = loop_convolution(x, kernel, stride)
        cotangent = draw(expected.shape, seed=2)
        results = {}
        for convolve in (convolution.convolve, convolution.convolve_patches):

            @jax.jit
            def compute(x, kernel, convolve=convolve, cotangent=cotangent):
                y, vjp = jax.vjp(lambda x, kernel: convolve(x, kernel, stride), x, kernel)
                return y, *vjp(cotangent)

            results[convolve] = compute(x, kernel)
        y, *gradients = results[convolution.convolve]
        patches_y, *patches_gradients = results[convolution.convolve_patches]
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-4)
        np.testing.assert_allclose(patches_y, expected, rtol=0, atol=1e-4)
        for a, b in zip(patches_gradients, gradients, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-4)


@pytest.mark.parametrize('stride', [1, 2])
def test_the_layer_computes_the_same_with_and_without_patches(stride, monkeypatch):
    conv = convolution.Conv(5, 3, stride)
    x = draw((2, 4, 4, 3))
    variables = conv.init(jax.random.key(0), x)
    assert jax.tree.map(jnp.shape, variables) == {'params': {'kernel': (3, 3, 3, 5)}}
    with_patches = conv.apply(variables, x)
    monkeypatch.setattr(convolution, 'SMALL_MAP', 0)
    np.testing.assert_allclose(conv.apply(variables, x), with_patches, rtol=0, atol=1e-5)


def count_convolutions(size, stride, platform):
    conv = convolution.Conv(4, 3, stride)
    x = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    variables = jax.eval_shape(conv.init, jax.random.key(0), x)
    lowered = jax.jit(conv.apply).trace(variables, x).lower(lowering_platforms=(platform,))
    return lowered.as_text().count('stablehlo.convolution')


@pytest.mark.parametrize(
    ('size', 'stride', 'on_cpu'), [(4, 1, 0), (5, 1, 1), (8, 2, 0), (9, 2, 1), (1, 1, 0)]
)
def test_only_a_cpu_avoids_convolutions_and_only_of_small_maps(size, stride, on_cpu):
    assert count_convolutions(size, stride, 'cpu') == on_cpu
    assert count_convolutions(size, stride, 'cuda') == 1


def test_the_layer_computes_in_its_dtype_and_stores_float32():
    conv = convolution.Conv(4, 3, dtype=jnp.bfloat16)
    for size in (4, 8):
        variables = conv.init(jax.random.key(0), draw((1, size, size, 3)))
        assert variables['params']['kernel'].dtype == jnp.float32
        assert conv.apply(variables, draw((1, size, size, 3))).dtype == jnp.bfloat16


@pytest.mark.parametrize(('dtype', 'tolerance'), [(jnp.float32, 1e-5), (jnp.bfloat16, 0.02)])
@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize(
    ('implementation', 'size'),
    [(convolution.convolve_pointwise, 1), (convolution.convolve_by_patches, 3)],
)
def test_cpu_implementations_have_the_value_and_gradients_of_the_plain_convolution(
    implementation, size, stride, dtype, tolerance
):
    x, kernel = draw((2, 9, 12, 3)), draw((size, size, 3, 5), seed=1)
    cotangent = draw((2, -(-9 // stride), 12 // stride, 5), seed=2)
    x, kernel, cotangent = (jnp.asarray(array, dtype) for array in (x, kernel, cotangent))
    results = []
    for convolve in (convolution.convolve, implementation):
        y, vjp = jax.vjp(lambda *both, convolve=convolve: convolve(*both, stride), x, kernel)
        results.append([np.asarray(array, np.float32) for array in (y, *vjp(cotangent))])
        assert y.dtype == dtype
    for plain, ours in zip(*results, strict=True):
        np.testing.assert_allclose(ours, plain, rtol=0, atol=tolerance * np.abs(plain).max())


def test_patches_are_not_kept_for_the_gradients():
    x, kernel = draw((2, 4, 4, 3)), draw((3, 3, 3, 5))
    _, vjp = jax.vjp(lambda *both: convolution.convolve_by_patches(*both, 1), x, kernel)
    assert sum(array.size for array in jax.tree.leaves(vjp)) == x.size + kernel.size


def test_a_result_without_a_cpu_implementation_has_one_convolution_for_all_platforms():
    plain, pointwise = (
        jax.jit(lambda *both, convolve=convolve: convolve(*both, 1))
        .trace(draw((1, 8, 8, 3)), draw((1, 1, 3, 5)))
        .lower(lowering_platforms=('cpu', 'cuda'))
        .as_text()
        .count('stablehlo.convolution')
        for convolve in (convolution.convolve, convolution.convolve_pointwise)
    )
    assert pointwise == plain


@pytest.mark.parametrize(('platform', 'expected'), [('cpu', 2), ('cuda', 3)])
def test_only_a_cpu_computes_a_pointwise_kernel_gradient_as_a_product(platform, expected):
    def compute(x, kernel):
        y, vjp = jax.vjp(lambda *both: convolution.convolve_pointwise(*both, 1), x, kernel)
        return y, *vjp(y)

    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((2, 9, 9, 3), (1, 1, 3, 5))]
    lowered = jax.jit(compute).trace(*shapes).lower(lowering_platforms=(platform,))
    assert lowered.as_text().count('stablehlo.convolution') == expected


POOLS = [pooling.max_pool_slices, pooling.max_pool_windows]


@pytest.mark.parametrize('pool', POOLS)
@pytest.mark.parametrize('zero_padding', [False, True])
@pytest.mark.parametrize(('height', 'width'), [(1, 1), (2, 3), (7, 8), (8, 8), (9, 4)])
def test_pooling_takes_the_maximum_of_each_window(height, width, zero_padding, pool):
    x = draw((2, height, width, 3)) - 5  # negative: padding with zeros wins
    fill = 0 if zero_padding else -np.inf
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=fill)
    expected = [
        [padded[:, i : i + 3, j : j + 3].max(axis=(1, 2)) for j in range(0, width, 2)]
        for i in range(0, height, 2)
    ]
    expected = np.array(expected).transpose(2, 0, 1, 3)
    np.testing.assert_array_equal(pool(x, zero_padding=zero_padding), expected)


@pytest.mark.parametrize('pool', [*POOLS, pooling.max_pool])
def test_pooling_passes_the_gradient_to_the_maximum(pool):
    x = np.random.default_rng(0).permutation(36).astype(np.float32).reshape(1, 6, 6, 1)
    gradient = jax.grad(lambda x: jnp.sum(pool(x, zero_padding=False)))(x)
    pooled = np.asarray(pool(x, zero_padding=False)).ravel()
    expected = np.array([[np.sum(pooled == level)] for level in x.ravel()], np.float32)
    np.testing.assert_array_equal(gradient, expected.reshape(x.shape))
    assert gradient.sum() == 9


@pytest.mark.parametrize('zero_padding', [False, True])
@pytest.mark.parametrize(('height', 'width'), [(1, 2), (7, 8), (8, 8), (12, 9)])
@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_both_poolings_pass_the_same_gradient_however_many_equal_values_there_are(
    height, width, zero_padding, dtype
):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.integers(-1, 2, (2, height, width, 4)), dtype)
    cotangent = rng.integers(-9, 10, (2, -(-height // 2), -(-width // 2), 4))  # sums are exact
    gradients = [
        jax.vjp(functools.partial(pool, zero_padding=zero_padding), x)[1](cotangent.astype(dtype))
        for pool in POOLS
    ]
    for [gradient] in gradients:
        assert gradient.dtype == dtype
        np.testing.assert_array_equal(gradient, gradients[0][0])
    assert gradients[0][0].any()


@pytest.mark.parametrize(('platform', 'expected'), [('cpu', 0), ('cuda', 1)])
def test_only_a_cpu_avoids_the_reduction_over_windows(platform, expected):
    x = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)
    lowered = jax.jit(pooling.max_pool).trace(x).lower(lowering_platforms=(platform,))
    assert lowered.as_text().count('stablehlo.reduce_window') == expected
