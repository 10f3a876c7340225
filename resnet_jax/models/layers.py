"""The convolution and the pooling of the networks.

A CPU computes some of them, or of their gradients, in another form that it runs faster; the form
computes the same function of the same parameters. Other platforms always take XLA's own.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

SMALL_MAP = 4
"""Up to this height and width of its output, a convolution on a CPU is computed from patches."""


Form = Callable[[jax.Array, jax.Array, int], jax.Array]
"""A function of x, the kernel and the stride that computes `convolve`."""


def convolve(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Convolves with zero padding of `(k - 1) // 2` on every side.

    Args:
      x: `[N, H, W, C_in]`.
      kernel: `[k, k, C_in, C_out]` with odd k, of x's dtype.
      stride: the same in both directions.

    Returns:
      `[N, ceil(H / stride), ceil(W / stride), C_out]`.
    """
    pad = (kernel.shape[0] - 1) // 2
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=((pad, pad), (pad, pad)),
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )


def convolve_patches(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Computes `convolve` as one matrix product of shifted slices with the reshaped kernel.

    XLA's CPU backend has no fast convolution for small maps: this is up to nine times as fast on
    maps of 4x4 and smaller.
    """
    size = kernel.shape[0]
    pad = (size - 1) // 2
    height, width = x.shape[1:3]
    x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    slices = [
        x[:, dy : dy + height : stride, dx : dx + width : stride]
        for dy in range(size)
        for dx in range(size)
    ]
    return jnp.concatenate(slices, axis=-1) @ kernel.reshape(-1, kernel.shape[-1])


def _make_convolution(*, forward: Form, input_gradient: Form, kernel_gradient: Form) -> Form:
    """Returns `convolve`, with the forms in which a CPU computes it and its two gradients.

    Only x and the kernel are kept for the gradients, whatever a form makes of them. It has no
    forward-mode derivative.
    """

    @functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
    def convolution(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
        return _by_platform(forward, lambda form, *both: form(*both, stride), x, kernel)

    def convolution_forward(x, kernel, stride):
        return convolution(x, kernel, stride), (x, kernel)

    def convolution_backward(stride, residuals, cotangent):
        def pull_back_to_x(form, x, kernel, cotangent):
            return jax.vjp(lambda x: form(x, kernel, stride), x)[1](cotangent)[0]

        def pull_back_to_kernel(form, x, kernel, cotangent):
            return jax.vjp(lambda kernel: form(x, kernel, stride), kernel)[1](cotangent)[0]

        return (
            _by_platform(input_gradient, pull_back_to_x, *residuals, cotangent),
            _by_platform(kernel_gradient, pull_back_to_kernel, *residuals, cotangent),
        )

    convolution.defvjp(convolution_forward, convolution_backward)
    return convolution


def _by_platform(cpu_form: Form, compute: Callable, *arrays: jax.Array) -> jax.Array:
    """Calls `compute(form, *arrays)`, on a CPU with its form and elsewhere with `convolve`."""
    if cpu_form is convolve:
        return compute(convolve, *arrays)
    forms = {'cpu': cpu_form, 'default': convolve}
    return lax.platform_dependent(
        *arrays, **{name: functools.partial(compute, form) for name, form in forms.items()}
    )


convolve_pointwise = _make_convolution(
    forward=convolve, input_gradient=convolve, kernel_gradient=convolve_patches
)
"""Computes `convolve` with a 1x1 kernel, whose gradient a CPU computes as a matrix product.

That is up to three times as fast as XLA's convolution for it. The convolution itself and the
gradient of x are not faster as products.
"""

convolve_by_patches = _make_convolution(
    forward=convolve_patches, input_gradient=convolve_patches, kernel_gradient=convolve_patches
)
"""Computes `convolve`, which a CPU does as `convolve_patches`, and its gradients too."""


class Conv(nn.Module):
    """A square convolution with symmetric padding.

    Attributes:
      features: output channels.
      size: height and width of the kernel, odd.
      stride: the same in both directions.
      use_bias: add a learned number to each output channel.
      dtype: of the computation; the parameters are stored in float32.
      in_loop: whether a loop computes it, for which CPUs have no fast convolution either.
    """

    features: int
    size: int
    stride: int = 1
    use_bias: bool = False
    dtype: jnp.dtype = jnp.float32
    in_loop: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param('kernel', nn.initializers.lecun_normal(), shape, jnp.float32)
        y = self._convolve(x.astype(self.dtype), kernel.astype(self.dtype))
        if self.use_bias:
            bias = self.param('bias', nn.initializers.zeros, (self.features,), jnp.float32)
            y = y + bias.astype(self.dtype)
        return y

    def _convolve(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        is_small = -(-max(x.shape[1:3]) // self.stride) <= SMALL_MAP
        if not (is_small or self.in_loop):
            form = convolve_pointwise if self.size == 1 else convolve
            return form(x, kernel, self.stride)
        return convolve_by_patches(x, kernel, self.stride)


def max_pool(x: jax.Array, *, zero_padding: bool = False) -> jax.Array:
    """Takes the maximum over 3x3 windows with stride 2 and padding 1, `[N, H, W, C]`.

    Where equal values share the maximum of a window, the first of them, row by row, gets its
    gradient.

    Args:
      x: `[N, H, W, C]`.
      zero_padding: zeros around the map take part in the maximum; otherwise it is only over what
        lies inside.
    """
    return lax.platform_dependent(
        x,
        cpu=functools.partial(max_pool_slices, zero_padding=zero_padding),
        default=functools.partial(max_pool_windows, zero_padding=zero_padding),
    )


def max_pool_windows(x: jax.Array, *, zero_padding: bool) -> jax.Array:
    """Computes `max_pool` with XLA's reduction over windows."""
    padding = ((1, 1), (1, 1))
    if zero_padding:
        x, padding = jnp.pad(x, ((0, 0), *padding, (0, 0))), 'VALID'
    return nn.max_pool(x, (3, 3), strides=(2, 2), padding=padding)


def max_pool_slices(x: jax.Array, *, zero_padding: bool) -> jax.Array:
    """Computes `max_pool` as the maximum of shifted slices, of the columns and then of the rows.

    On XLA's CPU backend it is five times as fast, with its gradient, as the reduction over windows.
    """
    fill = 0.0 if zero_padding else -jnp.inf
    for axis in (2, 1):
        odd = [(0, x.shape[i] % 2 if i == axis else 0) for i in range(4)]
        x = _max_pool_axis(jnp.pad(x, odd, constant_values=fill), axis, fill)
    return x


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _max_pool_axis(x: jax.Array, axis: int, fill: float) -> jax.Array:
    """Takes the maximum of `x[2i - 1]`, `x[2i]` and `x[2i + 1]` along an axis of even length 2L.

    The result has L there; `x[-1]` is `fill`. Of equal values the first gets the gradient.
    """
    return functools.reduce(jnp.maximum, _candidates(x, axis, fill))


def _candidates(x: jax.Array, axis: int, fill: float) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns `x[2i - 1]`, `x[2i]` and `x[2i + 1]` for all i of L, where the axis has 2L."""
    pairs = x.reshape(*x.shape[:axis], -1, 2, *x.shape[axis + 1 :])
    even, odd = (lax.index_in_dim(pairs, i, axis + 1, keepdims=False) for i in range(2))
    return _shift(odd, axis, 1, fill), even, odd


def _shift(x: jax.Array, axis: int, by: int, fill: float) -> jax.Array:
    """Moves an array along an axis by 1 or -1; `fill` comes in at the edge."""
    edges = [(by, -by, 0) if i == axis else (0, 0, 0) for i in range(x.ndim)]
    return lax.pad(x, jnp.asarray(fill, x.dtype), edges)


def _max_pool_axis_forward(x, axis, fill):
    y = _max_pool_axis(x, axis, fill)
    return y, (x, y)


def _max_pool_axis_backward(axis, fill, residuals, cotangent):
    x, y = residuals
    before, even, odd = (candidate == y for candidate in _candidates(x, axis, fill))
    of_before, of_even, of_odd = (
        jnp.where(wins, cotangent, jnp.zeros((), cotangent.dtype))
        for wins in (before, even & ~before, odd & ~even & ~before)
    )
    of_odd += _shift(of_before, axis, -1, 0.0)
    return (jnp.stack((of_even, of_odd), axis + 1).reshape(x.shape),)


_max_pool_axis.defvjp(_max_pool_axis_forward, _max_pool_axis_backward)


def average_pool(x: jax.Array) -> jax.Array:
    """Takes the mean over 2x2 windows with stride 2, `[N, H, W, C]`.

    An odd last row or column is averaged over what lies inside.
    """
    return nn.avg_pool(x, (2, 2), strides=(2, 2), padding='SAME', count_include_pad=False)
