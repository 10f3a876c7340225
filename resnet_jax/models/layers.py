"""The convolution and the pooling of the networks.

A convolution has two forms, which compute the same function of the same parameters; where it is
small, a CPU takes the one that it runs faster.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

SMALL_MAP = 4
"""Up to this height and width of its output, a convolution on a CPU is computed from patches."""


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


class Conv(nn.Module):
    """A square convolution without bias, with symmetric padding.

    Attributes:
      features: output channels.
      size: height and width of the kernel, odd.
      stride: the same in both directions.
      dtype: of the computation; the kernel is stored in float32.
    """

    features: int
    size: int
    stride: int = 1
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param('kernel', nn.initializers.lecun_normal(), shape, jnp.float32)
        x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
        if -(-max(x.shape[1:3]) // self.stride) > SMALL_MAP:
            return convolve(x, kernel, self.stride)
        return lax.platform_dependent(
            x,
            kernel,
            cpu=lambda x, kernel: convolve_patches(x, kernel, self.stride),
            default=lambda x, kernel: convolve(x, kernel, self.stride),
        )


def max_pool(x: jax.Array) -> jax.Array:
    """Takes the maximum over 3x3 windows with stride 2 and padding 1, `[N, H, W, C]`."""
    return nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
