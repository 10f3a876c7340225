"""How `prepare` stores images: smaller, as JPEGs or as pixels."""

import copy
import dataclasses
import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from resnet_jax.data import class_names, decoding, preprocessing

PHOTOGRAPH_RATIO = 4 / 3
JPEG_BYTES_PER_PIXEL = 0.33  # of ImageNet's photographs at 256 px and quality 90


@dataclasses.dataclass(frozen=True)
class Encoding:
    """How images are stored.

    Attributes:
      kind: 'jpeg', or 'raw' for uint8 pixels.
      size: px of the short side, or of the square.
      shape: 'keep' the ratio, never enlarging; or the centre 'square', as in 2016.
      quality: of JPEGs, 1-100.
    """

    kind: str = 'jpeg'
    size: int = 256
    shape: str = 'keep'
    quality: int = 90

    @property
    def bytes_per_image(self) -> int:
        """A rough guess, for photographs."""
        pixels = self.size**2 * (PHOTOGRAPH_RATIO if self.shape == 'keep' else 1)
        return math.ceil(pixels * (3 if self.kind == 'raw' else JPEG_BYTES_PER_PIXEL))


def make_encoder(encoding: Encoding, config: ConfigDict) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns `encode(image)`, from a stored image of a source to a smaller one.

    The result is a JPEG as a string, or uint8 `[H, W, 3]`. The resize is evaluation's, with
    `config.data.validation_interpolation`; large JPEGs are decoded at a fraction of their size
    first, so that an image takes memory by the size of its result.
    """
    square_config = copy.deepcopy(config)
    square_config.data.resize_size = square_config.data.image_size = encoding.size
    cut_square = preprocessing.make_evaluation_transform(square_config)

    def shrink(pixels: tf.Tensor) -> tf.Tensor:
        shape = tf.shape(pixels)[:2]
        short = tf.reduce_min(shape)
        size = tf.where(short > encoding.size, shape * encoding.size // short, shape)
        return preprocessing.resize_smoothly(
            pixels, size, size / shape, tf.zeros(2), config.data.validation_interpolation
        )

    def encode(image: tf.Tensor) -> tf.Tensor:
        pixels = decoding.decode(image, at_least=2 * encoding.size)
        pixels = cut_square(pixels) if encoding.shape == 'square' else shrink(pixels)
        if encoding.kind == 'raw':
            return pixels
        return tf.io.encode_jpeg(pixels, quality=encoding.quality)

    return encode


def create_features(encoding: Encoding, names: tuple[str, ...]) -> Any:
    """Returns TFDS's description of the examples; classes by `class_names.labels(names)`."""
    import tensorflow_datasets as tfds

    shape = ((encoding.size,) * 2 if encoding.shape == 'square' else (None, None)) + (3,)
    image = tfds.features.Image(shape=shape, encoding_format='jpeg')
    if encoding.kind == 'raw':
        pixels = tfds.features.Encoding.BYTES
        image = tfds.features.Tensor(shape=shape, dtype=np.uint8, encoding=pixels)
    label = tfds.features.ClassLabel(names=class_names.labels(names))
    return tfds.features.FeaturesDict({'image': image, 'label': label})


def serialize(features: Any, image: bytes | np.ndarray, label: int) -> bytes:
    """Returns the record of an example whose image `encode` made, the same bytes in any process."""
    if isinstance(image, bytes):
        image = io.BytesIO(image)
    record = features.serialize_example({'image': image, 'label': label})
    # TFDS leaves the order of the fields to protobuf, which draws one for each process.
    return tf.train.Example.FromString(record).SerializeToString(deterministic=True)
