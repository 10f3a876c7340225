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
            return convolve(x, kernel, self.stride)
        return lax.platform_dependent(
            x,
            kernel,
            cpu=lambda x, kernel: convolve_patches(x, kernel, self.stride),
            default=lambda x, kernel: convolve(x, kernel, self.stride),
        )


def max_pool(x: jax.Array, *, zero_padding: bool = False) -> jax.Array:
    """Takes the maximum over 3x3 windows with stride 2 and padding 1, `[N, H, W, C]`.

    Args:
      x: `[N, H, W, C]`.
      zero_padding: zeros around the map take part in the maximum; otherwise it is only over what
        lies inside.
    """
    padding = ((1, 1), (1, 1))
    if zero_padding:
        x, padding = jnp.pad(x, ((0, 0), *padding, (0, 0))), 'VALID'
    return nn.max_pool(x, (3, 3), strides=(2, 2), padding=padding)


def average_pool(x: jax.Array) -> jax.Array:
    """Takes the mean over 2x2 windows with stride 2, `[N, H, W, C]`.

    An odd last row or column is averaged over what lies inside.
    """
    return nn.avg_pool(x, (2, 2), strides=(2, 2), padding='SAME', count_include_pad=False)
