"""Initial parameters and statistics of a network, drawn on the host."""

import functools
import math
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from resnet_jax.models import stacking
from resnet_jax.models.resnet import ResNet

KERNEL_INITS = {
    # He et al. 2015 (arXiv:1502.01852), equations 14 and 10.
    'he_fan_out': (2.0, 'fan_out', 'normal'),
    'he_fan_in': (2.0, 'fan_in', 'normal'),
    # mx.init.Xavier(rnd_type='uniform', factor_type='in', magnitude=2)
    'mxnet_2016': (2 / 3, 'fan_in', 'uniform'),
}
"""Scale, fan and distribution of each initialisation; the variance is scale / fan."""

HEAD_DEVIATION = 0.01
"""Standard deviation of the head's kernel, as in He's and Facebook's code for ResNets. The rule of
the convolutions makes the first loss of a head with few classes several times ln(classes)."""


@functools.lru_cache(maxsize=4)  # tracing a thousand layers takes seconds
def abstract_variables(model: ResNet, image_size: int) -> dict[str, Any]:
    """Returns `{'params': ..., 'batch_stats': ...}`, unstacked.

    Leaves are `jax.ShapeDtypeStruct` instead of arrays.
    """
    images = jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.uint8)
    init = functools.partial(model.init, train=False)
    variables = jax.eval_shape(init, jax.random.key(0), images)
    return stacking.unstack_blocks(variables, model.num_scanned)


def init_variables(
    model: ResNet, image_size: int, *, seed: int, kernel_init: str
) -> dict[str, Any]:
    """Draws initial parameters and statistics.

    Each array is drawn on the host from the seed, its name and its shape, so nothing is compiled.
    Compiling `model.init` took seconds for 18 layers and minutes for 1001.

    Args:
      model: the network.
      image_size: height and width of an image in px; no array's shape depends on it.
      seed: seed of all arrays; the same seed gives the same arrays on any devices.
      kernel_init: key of `KERNEL_INITS`, for the kernels of convolutions. The head's is normal with
        `HEAD_DEVIATION`, except with 'mxnet_2016', which draws all kernels in one way.

    Returns:
      `{'params': ..., 'batch_stats': ...}` of float32 NumPy arrays, unstacked.
    """

    def draw(path: tuple[Any, ...], array: Any) -> np.ndarray:
        if path[-1] == 'kernel':
            generator = np.random.default_rng([seed, zlib.crc32('/'.join(path).encode())])
            if path[-2] == 'head' and kernel_init != 'mxnet_2016':
                return HEAD_DEVIATION * generator.standard_normal(array.shape, np.float32)
            return _draw_kernel(generator, array.shape, *KERNEL_INITS[kernel_init])
        fill = 1.0 if path[-1] in ('scale', 'var') else 0.0
        return np.full(array.shape, fill, np.float32)

    return dict(traverse_util.path_aware_map(draw, abstract_variables(model, image_size)))


def _draw_kernel(
    generator: np.random.Generator,
    shape: tuple[int, ...],
    scale: float,
    fan: str,
    distribution: str,
) -> np.ndarray:
    fans = {'fan_in': math.prod(shape[:-1]), 'fan_out': math.prod(shape[:-2]) * shape[-1]}
    deviation = np.float32(math.sqrt(scale / fans[fan]))
    if distribution == 'normal':
        return deviation * generator.standard_normal(shape, np.float32)
    uniform = 2 * generator.random(shape, np.float32) - 1
    return deviation * np.float32(math.sqrt(3)) * uniform
