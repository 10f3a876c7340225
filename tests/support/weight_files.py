"""Weight files in the formats of other frameworks, and random weights for them."""

import math
import struct

import numpy as np
from flax import traverse_util

from resnet_jax.config import schema
from resnet_jax.models import initialization, resnet


def make_config(depth, variant, stem='cifar', width=4):
    config = schema.get_config()
    config.model.update(
        {'depth': depth, 'variant': variant, 'stem': stem, 'width': width, 'dtype': 'float32'}
    )
    return config


def make_model(depth, variant, stem='cifar', width=4, num_classes=5):
    return resnet.create_model(make_config(depth, variant, stem, width), num_classes)


def random_variables(model):
    """Returns random arrays by path, including biases and running statistics."""
    rng = np.random.default_rng(0)
    variables = {}
    abstract = traverse_util.flatten_dict(initialization.abstract_variables(model, 32))
    for path, array in abstract.items():
        if path[-1] == 'kernel':
            deviation = math.prod(array.shape[:-1]) ** -0.5
            variables[path] = rng.normal(0, deviation, array.shape).astype('f')
        else:
            low, high = (0.5, 1.5) if path[-1] in ('scale', 'var') else (-0.5, 0.5)
            variables[path] = rng.uniform(low, high, array.shape).astype('f')
    return variables


def to_params(arrays, version=2, **changes):
    """Returns the content of a `.params` file.

    Args:
      arrays: arrays by name.
      version: version of MXNet's array format, 0 to 3.
      **changes: wrong values of `count` and `num_names` to write instead of the true numbers.
    """
    parts = [struct.pack('<QQQ', 0x112, 0, changes.get('count', len(arrays)))]
    dtypes = {'f4': 0, 'f8': 1, 'f2': 2, 'i4': 4}
    for array in arrays.values():
        if version:
            parts.append(struct.pack('<I', 0xF993FAC7 + version))
        if version >= 2:
            parts.append(struct.pack('<i', 0))
        size = 'q' if version else 'I'
        parts.append(struct.pack(f'<I{array.ndim}{size}', array.ndim, *array.shape))
        parts.append(struct.pack('<iii', 1, 0, dtypes[array.dtype.str[1:]]))
        parts.append(array.tobytes())
    parts.append(struct.pack('<Q', changes.get('num_names', len(arrays))))
    for name in arrays:
        parts.append(struct.pack('<Q', len(name)) + name.encode())
    return b''.join(parts)


def keras_resnet_v2(width, blocks, num_classes):
    """Returns the ResNet v2 of `keras.applications` in another size, with random statistics."""
    import keras
    from keras.src.applications.resnet import stack_residual_blocks_v2

    keras.utils.set_random_seed(0)
    inputs = keras.layers.Input((None, None, 3))
    x = keras.layers.ZeroPadding2D(3, name='conv1_pad')(inputs)
    x = keras.layers.Conv2D(width, 7, strides=2, name='conv1_conv')(x)
    x = keras.layers.ZeroPadding2D(1, name='pool1_pad')(x)
    x = keras.layers.MaxPooling2D(3, strides=2, name='pool1_pool')(x)
    for stage, number in enumerate(blocks):
        stride = 2 if stage < len(blocks) - 1 else 1
        name = f'conv{stage + 2}'
        x = stack_residual_blocks_v2(x, width * 2**stage, number, stride1=stride, name=name)
    x = keras.layers.BatchNormalization(epsilon=1.001e-5, name='post_bn')(x)
    x = keras.layers.Activation('relu', name='post_relu')(x)
    x = keras.layers.GlobalAveragePooling2D(name='avg_pool')(x)
    model = keras.Model(inputs, keras.layers.Dense(num_classes, name='predictions')(x))
    randomise(model)
    return model


def randomise(model):
    """Sets the weights that are 0 or 1 in a new Keras model to random numbers."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        kind = weight.path.rsplit('/', 1)[-1]
        if kind in ('beta', 'bias', 'moving_mean'):
            weight.assign(rng.uniform(-0.5, 0.5, weight.shape))
        elif kind in ('gamma', 'moving_variance'):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
