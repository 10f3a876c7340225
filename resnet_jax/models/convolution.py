"""Convolutions.

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
