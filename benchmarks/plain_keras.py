"""Peer in Keras on TensorFlow: the same networks from `Conv2D` and `BatchNormalization`.

Only pooling differs: it pads with zeros, like Keras's own networks. With this project's TensorFlow
it runs on the CPU, even on a machine with a GPU.
"""

import math
import os
from collections.abc import Callable

import numpy as np
from networks import NUM_CLASSES, Network

os.environ['KERAS_BACKEND'] = 'tensorflow'

import keras
from keras import layers


def make_model(network: Network, size: int) -> keras.Model:
    """Returns ResNet v2 like our variant 'timm', on uint8 images `[N, size, size, 3]`."""

    def conv(x, features: int, kernel: int, stride: int = 1):
        if stride > 1 and kernel > 1:  # 'same' pads one side only
            x = layers.ZeroPadding2D(kernel // 2)(x)
            return layers.Conv2D(features, kernel, stride, use_bias=False)(x)
        return layers.Conv2D(features, kernel, stride, padding='same', use_bias=False)(x)

    def norm(x):
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x))

    images = keras.Input((size, size, 3), dtype='uint8')
    x = layers.Rescaling(1 / 127.5, -1.0)(images)
    if network.stem == 'imagenet':
        x = conv(x, network.width, 7, 2)
        x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))
    else:
        x = conv(x, network.width, 3)
    for stage, num_blocks in enumerate(network.blocks):
        channels = network.width * 2**stage
        out = channels * (4 if network.bottleneck else 1)
        for block in range(num_blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            y = norm(x)
            if stride > 1 or x.shape[-1] != out:
                x = conv(y, out, 1, stride)
            if network.bottleneck:
                y = norm(conv(y, channels, 1))
            y = norm(conv(y, channels, 3, stride))
            x = x + conv(y, out, 1 if network.bottleneck else 3)
    x = layers.GlobalAveragePooling2D()(norm(x))
    return keras.Model(images, layers.Dense(NUM_CLASSES)(x))


def make_runs(
    network: Network, images: np.ndarray, labels: np.ndarray
) -> tuple[keras.Model, Callable[[], object], Callable[[], object]]:
    """Returns the model, a function that does a training step, and one that does a forward pass.

    Both functions return when the computation is done.
    """
    model = make_model(network, images.shape[1])
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=1e-4),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return (
        model,
        lambda: model.train_on_batch(images, labels),
        lambda: model.predict_on_batch(images),
    )


def count(model: keras.Model) -> int:
    """Returns the number of learnable parameters."""
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)
