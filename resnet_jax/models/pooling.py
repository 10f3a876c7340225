"""Max and average pooling, with a faster equivalent implementation for CPUs."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax


def max_pool(x: jax.Array, *, zero_padding: bool = False) -> jax.Array:
    """Takes the maximum over 3x3 windows with stride 2 and padding 1.

    If several values of a window equal its maximum, the first of them, row by row, gets the
    gradient.

    Args:
      x: `[N, H, W, C]`.
      zero_padding: pad the map with zeros, which take part in the maximum; otherwise the padding
        is ignored.

    Returns:
      `[N, ceil(H / 2), ceil(W / 2), C]`.
    """
    return lax.platform_dependent(
        x,
        cpu=functools.partial(max_pool_slices, zero_padding=zero_padding),
        default=functools.partial(max_pool_windows, zero_padding=zero_padding),
    )


def max_pool_windows(x: jax.Array, *, zero_padding: bool) -> jax.Array:
    """Computes `max_pool` with XLA's reduction over windows."""
    if zero_padding:
        padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        return nn.max_pool(padded, (3, 3), strides=(2, 2), padding='VALID')
    return nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))


def max_pool_slices(x: jax.Array, *, zero_padding: bool) -> jax.Array:
    """Computes `max_pool` as the maximum of shifted slices, first of columns, then of rows.

    With its gradient, it was five times as fast on XLA's CPU backend as the reduction over windows.
    """
    fill = 0.0 if zero_padding else -jnp.inf
    for axis in (2, 1):
        padding = [(0, x.shape[i] % 2 if i == axis else 0) for i in range(4)]  # to even length
        x = _max_pool_axis(jnp.pad(x, padding, constant_values=fill), axis, fill)
    return x


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _max_pool_axis(x: jax.Array, axis: int, fill: float) -> jax.Array:
    """Takes the maximum of `x[2i - 1]`, `x[2i]` and `x[2i + 1]` along an axis of even length 2L.

    The axis of the result has length L. The value before the first is `fill`. Of several equal
    values, the first gets the gradient.
    """
    return functools.reduce(jnp.maximum, _candidates(x, axis, fill))


def _candidates(x: jax.Array, axis: int, fill: float) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns `x[2i - 1]`, `x[2i]` and `x[2i + 1]` along an axis of length 2L, i in `range(L)`."""
    pairs = x.reshape(*x.shape[:axis], -1, 2, *x.shape[axis + 1 :])
    even, odd = (lax.index_in_dim(pairs, i, axis + 1, keepdims=False) for i in range(2))
    return _shift(odd, axis, 1, fill), even, odd


def _shift(x: jax.Array, axis: int, by: int, fill: float) -> jax.Array:
    """Shifts an array along an axis by 1 or -1 and fills the freed edge with `fill`."""
    edges = [(by, -by, 0) if i == axis else (0, 0, 0) for i in range(x.ndim)]
    return lax.pad(x, jnp.asarray(fill, x.dtype), edges)


def _max_pool_axis_forward(x, axis, fill):
    y = _max_pool_axis(x, axis, fill)
    return y, (x, y)


def _max_pool_axis_backward(axis, fill, residuals, cotangent):
    x, y = residuals
    before, even, odd = (candidate == y for candidate in _candidates(x, axis, fill))
    before_gradient, even_gradient, odd_gradient = (
        jnp.where(is_first_maximum, cotangent, jnp.zeros((), cotangent.dtype))
        for is_first_maximum in (before, even & ~before, odd & ~even & ~before)
    )
    odd_gradient += _shift(before_gradient, axis, -1, 0.0)
    return (jnp.stack((even_gradient, odd_gradient), axis + 1).reshape(x.shape),)


_max_pool_axis.defvjp(_max_pool_axis_forward, _max_pool_axis_backward)


def average_pool(x: jax.Array) -> jax.Array:
    """Takes the mean over 2x2 windows with stride 2.

    At the edge of a map of odd height or width, the mean is only over the values inside the map.

    Args:
      x: `[N, H, W, C]`.

    Returns:
      `[N, ceil(H / 2), ceil(W / 2), C]`.
    """
    return nn.avg_pool(x, (2, 2), strides=(2, 2), padding='SAME', count_include_pad=False)
