"""Convolutions, with faster equivalent implementations for CPUs.

On a CPU, some convolutions and some of their gradients are computed as matrix products. The
function and its parameters are the same. Other platforms always run XLA's own convolution.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

SMALL_MAP = 4
"""Greatest height and width in px of an output that a CPU computes from patches."""

Implementation = Callable[[jax.Array, jax.Array, int], jax.Array]
"""A function of x, the kernel and the stride that is equivalent to `convolve`."""


def convolve(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Convolves with zero padding of `(k - 1) // 2` on every side.

    Args:
      x: `[N, H, W, C_in]`.
      kernel: `[k, k, C_in, C_out]` with odd k and the dtype of x.
      stride: stride of both directions, in px.

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
    """Computes `convolve` as one matrix product of shifted slices and the reshaped kernel.

    XLA's CPU backend has no fast convolution for small maps. On maps of 4x4 and smaller, this
    function was up to nine times as fast.
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


def _make_convolution(
    *, forward: Implementation, input_gradient: Implementation, kernel_gradient: Implementation
) -> Implementation:
    """Returns a function equivalent to `convolve`, with other implementations on a CPU.

    Only x and the kernel are kept for the backward pass, not the intermediate arrays of an
    implementation. The function has no forward-mode derivative.

    Args:
      forward: implementation of the result on a CPU.
      input_gradient: implementation on a CPU whose derivative gives the gradient of x.
      kernel_gradient: implementation on a CPU whose derivative gives the gradient of the kernel.
    """

    @functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
    def convolution(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
        return _by_platform(
            forward, lambda implementation, *arrays: implementation(*arrays, stride), x, kernel
        )

    def convolution_forward(x, kernel, stride):
        return convolution(x, kernel, stride), (x, kernel)

    def convolution_backward(stride, residuals, cotangent):
        def compute_input_gradient(implementation, x, kernel, cotangent):
            return jax.vjp(lambda x: implementation(x, kernel, stride), x)[1](cotangent)[0]

        def compute_kernel_gradient(implementation, x, kernel, cotangent):
            _, vjp = jax.vjp(lambda kernel: implementation(x, kernel, stride), kernel)
            return vjp(cotangent)[0]

        return (
            _by_platform(input_gradient, compute_input_gradient, *residuals, cotangent),
            _by_platform(kernel_gradient, compute_kernel_gradient, *residuals, cotangent),
        )

    convolution.defvjp(convolution_forward, convolution_backward)
    return convolution


def _by_platform(
    cpu_implementation: Implementation, compute: Callable[..., jax.Array], *arrays: jax.Array
) -> jax.Array:
    """Calls `compute(implementation, *arrays)`; all platforms but the CPU use `convolve`."""
    if cpu_implementation is convolve:
        return compute(convolve, *arrays)
    return lax.platform_dependent(
        *arrays,
        cpu=functools.partial(compute, cpu_implementation),
        default=functools.partial(compute, convolve),
    )


convolve_pointwise = _make_convolution(
    forward=convolve, input_gradient=convolve, kernel_gradient=convolve_patches
)
"""Computes `convolve` with a 1x1 kernel; a CPU computes the kernel's gradient as a matrix product.

The product was up to three times as fast as XLA's convolution. For the result and the gradient of
x, a product was not faster.
"""

convolve_by_patches = _make_convolution(
    forward=convolve_patches, input_gradient=convolve_patches, kernel_gradient=convolve_patches
)
"""Computes `convolve`; a CPU computes the result and both gradients with `convolve_patches`."""


class Conv(nn.Module):
    """A convolution with a square kernel and symmetric zero padding.

    Attributes:
      features: number of output channels.
      size: height and width of the kernel in px, odd.
      stride: stride of both directions, in px.
      use_bias: add a learned bias to each output channel.
      dtype: dtype of the computation; the parameters are float32.
      in_loop: whether the layer runs in a loop. XLA's CPU backend has no fast convolution in a
        loop, so a CPU then computes maps of every size from patches.
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
        if is_small or self.in_loop:
            return convolve_by_patches(x, kernel, self.stride)
        if self.size == 1:
            return convolve_pointwise(x, kernel, self.stride)
        return convolve(x, kernel, self.stride)
