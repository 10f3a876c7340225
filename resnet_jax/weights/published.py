"""Preprocessing, data sets and class names of published weights."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from resnet_jax.config import data_sets
from resnet_jax.data import class_names
from resnet_jax.weights.recognition import Network

CIFAR10_NAMES = (
    'airplane',
    'automobile',
    'bird',
    'cat',
    'deer',
    'dog',
    'frog',
    'horse',
    'ship',
    'truck',
)

RAW = {'data.mean': (0.0, 0.0, 0.0), 'data.std': (1.0, 1.0, 1.0)}
SUBTRACTED = RAW | {'data.mean': (123.68, 116.779, 103.939)}
DIVIDED = SUBTRACTED | {'data.std': (58.393, 57.12, 57.375)}
IMAGENET = {'data.mean': (123.675, 116.28, 103.53), 'data.std': (58.395, 57.12, 57.375)}
INCEPTION = {'data.mean': (127.5, 127.5, 127.5), 'data.std': (127.5, 127.5, 127.5)}
CIFAR = {field: data_sets.DATA_SETS['cifar10'][field] for field in ('data.mean', 'data.std')}

NORMALISATION = {
    # scripts/classification/imagenet/verify_pretrained.py and .../cifar/train_cifar10.py
    'gluoncv': IMAGENET,
    'gluoncv_cifar': CIFAR,
    # timm/models/resnetv2.py, default_cfgs
    'timm': INCEPTION,
    'timm_d': INCEPTION,
    # keras.applications.resnet_v2.preprocess_input, mode 'tf'
    'keras': INCEPTION,
}
"""Mean and deviation, in levels of 0-255, by variant. MXNet's depend on the file."""

SMALL_LEVELS = 30.0
"""Limit for the mean and the deviation of images, in levels of 0-255.

Raw images have a mean of about 120 levels and a deviation of about 60. A mean below the limit shows
that a mean was subtracted before the network, a deviation below it that the image was divided by
one.
"""

BICUBIC_CROPS = {
    # timm/models/resnetv2.py, default_cfgs, crop_pct at 224 px; all bicubic
    ('timm', 18): 0.9,
    ('timm', 34): 0.9,
    ('timm', 50): 0.95,
    ('timm', 101): 0.95,
    ('timm', 152): 0.875,
    ('timm_d', 18): 0.9,
    ('timm_d', 34): 0.9,
    ('timm_d', 50): 0.875,
    ('timm_d', 101): 0.875,
    ('timm_d', 152): 0.875,
}
"""Fraction of the resized short side that the crop keeps, by variant and depth.

All other images are resized to 256 px with bilinear interpolation and cropped to 224 px, which is a
fraction of 0.875.
"""


def preprocessing(network: Network, statistics: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of `config.data` with which the weights were evaluated.

    MXNet's weights have one of three normalisations, which the running statistics of the input norm
    show. Its published weights take raw levels (example/image-classification/test_score.py,
    rgb_mean='0,0,0'). Its training script subtracts a mean by default (common/data.py). Newer
    ImageNet scripts also divide by a deviation (train_imagenet.py).

    Args:
      network: network of the weights.
      statistics: `batch_stats` of the network.
    """
    if network.variant == 'mxnet':
        normalisation = _mxnet_normalisation(**statistics['input_norm'])
    else:
        normalisation = NORMALISATION[network.variant]
    crop = BICUBIC_CROPS.get((network.variant, network.depth))
    sizes = {'data.image_size': 224, 'data.resize_size': math.floor(224 / (crop or 0.875))}
    if network.stem == 'cifar':
        sizes = {'data.image_size': 32, 'data.resize_size': 32}
    method = 'bicubic' if crop else 'bilinear'
    interpolation = {'data.train_interpolation': method, 'data.validation_interpolation': method}
    return normalisation | sizes | interpolation


def _mxnet_normalisation(mean: np.ndarray, var: np.ndarray) -> dict[str, Any]:
    """Returns the normalisation that results in these statistics of the input norm."""
    if np.abs(mean).max() > SMALL_LEVELS:
        return RAW
    return SUBTRACTED if np.sqrt(var).max() > SMALL_LEVELS else DIVIDED


def data_set(network: Network) -> str:
    """Returns the name in `data_sets.DATA_SETS` of the data on which the weights were trained."""
    if network.stem == 'cifar':
        return 'cifar100' if network.num_classes == 100 else 'cifar10'
    return 'imagenet2012'


def names_of_classes(network: Network) -> tuple[str, ...]:
    """Returns the names of ImageNet or CIFAR-10 if the number of classes fits, else numbers."""
    if network.stem == 'imagenet' and network.num_classes == 1000:
        return tuple(class_names.imagenet_names().values())
    if network.stem == 'cifar' and network.num_classes == len(CIFAR10_NAMES):
        return CIFAR10_NAMES
    return tuple(map(str, range(network.num_classes)))
