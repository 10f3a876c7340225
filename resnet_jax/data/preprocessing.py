"""Preprocessing of images for evaluation and prediction: resize and centre crop.

The result is a uint8 square of the network's size. An image is the content of an image file as a
string (a JPEG is decoded only inside the crop), or pixels, uint8 `[H, W, 3]`.
"""

import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from resnet_jax.data import decoding
from resnet_jax.data.file_names import printable
from resnet_jax.errors import InputError

MAX_FILE_BYTES = 2**30
"""Limit for the size of an image file. No image of `decoding.MAX_PIXELS` needs as much."""

RESIZE_KERNELS = {'bilinear': ('triangle', 1), 'bicubic': ('keyscubic', 2)}
"""TensorFlow's names of the antialiasing kernels, and their radius in px of the smaller image."""


def make_evaluation_transform(config: ConfigDict) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns `transform(image)`, which resizes an image and crops its centre.

    The short side becomes `resize_size` px; the result is the centre square, uint8
    `[image_size, image_size, 3]`. The resize uses an antialiasing filter, as Pillow does. Only the
    pixels that the centre square needs are decoded, and they are sampled once, at the positions of
    the resized image's pixels.
    """
    data, size = config.data, config.data.image_size
    _, radius = RESIZE_KERNELS[data.validation_interpolation]

    def transform(image: tf.Tensor) -> tf.Tensor:
        def crop_and_resize(shape: tf.Tensor, crop: Callable) -> tf.Tensor:
            short = tf.reduce_min(shape)
            # int64, because a long image has more than 2**31 px on the way to its new shape.
            resized = tf.cast(shape, tf.int64) * data.resize_size // tf.cast(short, tf.int64)
            scale = tf.cast(resized, tf.float32) / tf.cast(shape, tf.float32)
            offset = tf.cast((resized - size) // 2, tf.float32)
            margin = radius * tf.maximum(1 / scale, 1) + 1
            first = tf.maximum(tf.cast(tf.floor(offset / scale - margin), tf.int32), 0)
            end = tf.cast(tf.math.ceil((offset + size) / scale + margin), tf.int32)
            extent = tf.minimum(end, shape) - first
            pixels = crop(first[0], first[1], extent[0], extent[1])
            translation = tf.cast(first, tf.float32) * scale - offset
            sampled = resize_smoothly(
                pixels, [size, size], scale, translation, data.validation_interpolation
            )
            return tf.ensure_shape(sampled, [size, size, 3])

        return decoding.with_crop(image, crop_and_resize, upright=data.exif_orientation)

    return transform


def resize_smoothly(
    pixels: tf.Tensor,
    size: tf.Tensor | list[int],
    scale: tf.Tensor,
    translation: tf.Tensor,
    method: str,
) -> tf.Tensor:
    """Resizes an image with an antialiasing filter, as Pillow does.

    Args:
      pixels: the image, uint8 `[H, W, 3]`.
      size: height and width of the result in px, int32 `[2]`.
      scale: factor from px of the image to px of the result, on each axis, float32 `[2]`.
      translation: shift of the scaled image, down and to the right, in px of the result, float32
        `[2]`.
      method: 'bilinear' or 'bicubic'.

    Returns:
      uint8 `[*size, 3]`.
    """
    sampled = tf.raw_ops.ScaleAndTranslate(
        images=pixels[tf.newaxis],
        size=size,
        scale=tf.cast(scale, tf.float32),
        translation=translation,
        kernel_type=RESIZE_KERNELS[method][0],
        antialias=True,
    )
    return _to_uint8(sampled[0])


def make_image_reader(
    config: ConfigDict,
) -> Callable[[str | Path | bytes | np.ndarray], np.ndarray]:
    """Returns `read(image)`, which prepares a single image as evaluation does.

    `read` takes a path, the bytes of an image file, or a uint8 array `[H, W]` or `[H, W, 3]`. It
    returns uint8 `[image_size, image_size, 3]`. If `config.data.exif_orientation` is set, an image
    file is turned as its EXIF orientation says. If the image cannot be read, `read` raises
    `InputError` with the file's name and the reason.
    """
    return _make_reader(make_evaluation_transform(config))


def make_view_reader(
    side: int, *, exif_orientation: bool = False
) -> Callable[[str | Path | bytes | np.ndarray], np.ndarray]:
    """Returns `read(image)`, which reads a whole image for display.

    `read` takes the same arguments and raises the same errors as that of `make_image_reader`. It
    returns uint8 `[H, W, 3]`. An image with a side longer than `side` px is reduced to it. With
    `exif_orientation`, an image file is turned as its EXIF orientation says.
    """

    def transform(image: tf.Tensor) -> tf.Tensor:
        def shrink(shape: tf.Tensor, crop: Callable) -> tf.Tensor:
            scale = tf.minimum(side / tf.cast(tf.reduce_max(shape), tf.float32), 1.0)
            size = tf.cast(tf.round(tf.cast(shape, tf.float32) * scale), tf.int32)
            pixels = crop(0, 0, shape[0], shape[1])
            resized = tf.image.resize(pixels, tf.maximum(size, 1), antialias=True)
            return tf.cast(tf.clip_by_value(tf.round(resized), 0.0, 255.0), tf.uint8)

        return decoding.with_crop(image, shrink, upright=exif_orientation)

    return _make_reader(transform)


def _make_reader(
    transform: Callable[[tf.Tensor], tf.Tensor],
) -> Callable[[str | Path | bytes | np.ndarray], np.ndarray]:
    transform_encoded = tf.function(transform, input_signature=[tf.TensorSpec([], tf.string)])
    transform_pixels = tf.function(
        transform, input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)]
    )

    def read(image: str | Path | bytes | np.ndarray) -> np.ndarray:
        if isinstance(image, np.ndarray):
            return transform_pixels(_as_rgb(image)).numpy()
        name = 'image' if isinstance(image, bytes) else printable(image)
        encoded = image if isinstance(image, bytes) else _read_file(image)
        try:
            return transform_encoded(encoded).numpy()
        except tf.errors.InvalidArgumentError:
            raise InputError(
                f'{name}: cannot be decoded: {decoding.describe_fault(encoded)}'
            ) from None

    return read


def _read_file(path: str | Path) -> bytes:
    try:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):
            reason: str | None = 'expected a regular file, found a folder, a pipe or a device'
        elif status.st_size > MAX_FILE_BYTES:
            reason = f'expected at most {MAX_FILE_BYTES:,} bytes, found {status.st_size:,}'
        else:
            return Path(path).read_bytes()
    except OSError as error:
        reason = error.strerror
    except ValueError as error:  # a path that no file can have
        reason = str(error)
    raise InputError(f'{printable(path)}: cannot be read: {reason}')


def _as_rgb(image: np.ndarray) -> np.ndarray:
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=-1)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3 or not image.size:
        raise InputError(
            'image array: expected uint8 of shape [H, W] or [H, W, 3], found '
            f'{image.dtype} of shape {list(image.shape)}'
        )
    return image


def resize(image: tf.Tensor, size: tf.Tensor | int, method: str) -> tf.Tensor:
    """Resizes an image to uint8 `[size, size, 3]` without antialiasing, for training."""
    image = tf.image.resize(image, tf.stack([size, size]), method=method)
    if method == 'bilinear':  # needs no clipping: the results lie between the input's levels
        return tf.cast(image + 0.5, tf.uint8)
    return _to_uint8(image)


def _to_uint8(image: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.clip_by_value(image, 0.0, 255.0) + 0.5, tf.uint8)
