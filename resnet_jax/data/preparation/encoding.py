"""Encoding of prepared images: reduced in size, as JPEGs or as pixels.

JPEGs take less space on the disk; pixels take less time to read, because nothing is decoded.
"""

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
JPEG_BYTES_PER_PIXEL = 0.33  # for ImageNet's photographs at 256 px and quality 90


@dataclasses.dataclass(frozen=True)
class Encoding:
    """Format in which images are stored.

    Attributes:
      kind: 'jpeg', or 'raw' for uint8 pixels.
      size: short side, or side of the square, in px.
      shape: 'keep' keeps the ratio and never enlarges; 'square' crops the centre square, as in
        2016.
      quality: quality of the JPEGs, 1-100.
    """

    kind: str = 'jpeg'
    size: int = 256
    shape: str = 'keep'
    quality: int = 90

    @property
    def bytes_per_image(self) -> int:
        """Rough estimate of the size of a stored photograph in bytes."""
        pixels = self.size**2 * (PHOTOGRAPH_RATIO if self.shape == 'keep' else 1)
        return math.ceil(pixels * (3 if self.kind == 'raw' else JPEG_BYTES_PER_PIXEL))


def make_encoder(encoding: Encoding, config: ConfigDict) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns `encode(image)`, which turns a source's stored image into a smaller one.

    The result is a JPEG as a string, or uint8 `[H, W, 3]`. Images are resized as in evaluation,
    with `config.data.validation_interpolation`, and turned as their EXIF orientation says if
    `config.data.exif_orientation` is set; the result has no EXIF. Large JPEGs are first decoded at
    a fraction of their size, so that the memory for an image depends on the size of the result.
    """
    square_config = copy.deepcopy(config)
    square_config.data.resize_size = square_config.data.image_size = encoding.size
    crop_square = preprocessing.make_evaluation_transform(square_config)

    def shrink(pixels: tf.Tensor) -> tf.Tensor:
        shape = tf.shape(pixels)[:2]
        short = tf.reduce_min(shape)
        size = tf.where(short > encoding.size, shape * encoding.size // short, shape)
        return preprocessing.resize_smoothly(
            pixels, size, size / shape, tf.zeros(2), config.data.validation_interpolation
        )

    def encode(image: tf.Tensor) -> tf.Tensor:
        pixels = decoding.decode(
            image, at_least=2 * encoding.size, upright=config.data.exif_orientation
        )
        pixels = crop_square(pixels) if encoding.shape == 'square' else shrink(pixels)
        if encoding.kind == 'raw':
            return pixels
        return tf.io.encode_jpeg(pixels, quality=encoding.quality)

    return encode


def create_features(encoding: Encoding, names: tuple[str, ...]) -> Any:
    """Returns TFDS's description of the examples; synset ids of ImageNet are stored as such."""
    import tensorflow_datasets as tfds

    shape = ((encoding.size,) * 2 if encoding.shape == 'square' else (None, None)) + (3,)
    image = tfds.features.Image(shape=shape, encoding_format='jpeg')
    if encoding.kind == 'raw':
        pixels = tfds.features.Encoding.BYTES
        image = tfds.features.Tensor(shape=shape, dtype=np.uint8, encoding=pixels)
    label = tfds.features.ClassLabel(names=class_names.labels(names))
    return tfds.features.FeaturesDict({'image': image, 'label': label})


def serialize(features: Any, image: bytes | np.ndarray, label: int) -> bytes:
    """Returns the record of an example: the same bytes in every process.

    Args:
      features: TFDS's description of the examples, from `create_features`.
      image: result of `encode`, a JPEG or uint8 `[H, W, 3]`.
      label: index of the class.
    """
    stored_image = io.BytesIO(image) if isinstance(image, bytes) else image
    record = features.serialize_example({'image': stored_image, 'label': label})
    # TFDS leaves the order of the fields to protobuf, which chooses a new one in each process.
    return tf.train.Example.FromString(record).SerializeToString(deterministic=True)
