"""Decoding of JPEG, PNG, GIF, BMP and WebP images, and the reasons why one cannot be decoded.

A source gives an image as a string, the content of an image file, or as pixels, uint8 `[H, W, 3]`.
The functions take both; pixels need no decoding. The content decides how a file is decoded, not
its name. To save time, a JPEG is decoded only inside the wanted window, or whole at a fraction of
its size. The size in the header is checked first, so a small file that claims a huge image takes no
memory.
"""

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from resnet_jax.data.orientation import (
    read_orientation,
    stored_window,
    turn_upright,
    upright_shape,
)
from resnet_jax.data.pillow_decoding import BadImage, decode_with_pillow

MAX_PIXELS = 90_000_000
"""Limit for the pixels of an image. Larger images are refused before they are decoded."""

PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
PNG_HEADER_BYTES = 24  # length of the header up to the end of width and height


def decode(image: tf.Tensor, *, at_least: int, upright: bool) -> tf.Tensor:
    """Decodes a whole image; a large JPEG is decoded at 1/2, 1/4 or 1/8 of its size.

    Args:
      image: content of an image file as a string, or uint8 `[H, W, 3]`, which is returned as it is.
      at_least: smallest allowed short side of a reduced JPEG in px. An image whose short side is
        smaller than that is decoded in full.
      upright: whether the image is turned as its EXIF orientation says.

    Returns:
      uint8 `[H, W, 3]`.
    """
    if image.dtype != tf.string:
        return image

    def from_jpeg() -> tf.Tensor:
        shape = tf.io.extract_jpeg_shape(image)[:2]
        ratio_index = tf.reduce_sum(
            tf.cast([tf.reduce_min(shape) >= at_least * ratio for ratio in (2, 4, 8)], tf.int32)
        )
        with tf.control_dependencies([_require_decodable(shape)]):
            return tf.switch_case(
                ratio_index,
                [
                    functools.partial(tf.io.decode_jpeg, image, channels=3, ratio=ratio)
                    for ratio in (1, 2, 4, 8)
                ],
            )

    pixels = tf.cond(tf.io.is_jpeg(image), from_jpeg, lambda: _decode_whole(image))
    return turn_upright(pixels, read_orientation(image)) if upright else pixels


def with_crop(
    image: tf.Tensor, use: Callable[[tf.Tensor, Callable], tf.Tensor], *, upright: bool
) -> tf.Tensor:
    """Returns `use(shape, crop)`, which cuts windows out of an image without decoding more of it.

    Args:
      image: content of an image file as a string, or uint8 `[H, W, 3]`.
      use: a function of the image's `[H, W]` and of `crop(top, left, height, width)`, which returns
        the pixels of a window, uint8 `[height, width, 3]`.
      upright: whether the image that `use` sees is turned as its EXIF orientation says.
    """
    orientation = read_orientation(image) if upright and image.dtype == tf.string else None

    def use_stored(shape: tf.Tensor, crop: Callable) -> tf.Tensor:
        if orientation is None:
            return use(shape, crop)

        def crop_upright(*window: tf.Tensor) -> tf.Tensor:
            return turn_upright(crop(*stored_window(window, shape, orientation)), orientation)

        return use(upright_shape(shape, orientation), crop_upright)

    def from_pixels(pixels: tf.Tensor) -> tf.Tensor:
        return use_stored(
            tf.shape(pixels)[:2],
            lambda top, left, height, width: pixels[top : top + height, left : left + width],
        )

    if image.dtype != tf.string:
        return from_pixels(image)

    def from_jpeg() -> tf.Tensor:
        shape = tf.io.extract_jpeg_shape(image)[:2]
        # With a shape of 0 decoding fails, because no window fits. An assertion costs more time
        # than reading the header.
        shape = tf.where(_is_decodable(shape), shape, 0)
        return use_stored(
            shape, lambda *window: tf.io.decode_and_crop_jpeg(image, tf.stack(window), channels=3)
        )

    return tf.cond(tf.io.is_jpeg(image), from_jpeg, lambda: from_pixels(_decode_whole(image)))


def _decode_whole(image: tf.Tensor) -> tf.Tensor:
    """Decodes an image that is not a JPEG."""
    is_png = tf.strings.substr(image, 0, len(PNG_SIGNATURE)) == PNG_SIGNATURE
    return tf.cond(is_png, lambda: _decode_png(image), lambda: _decode_other(image))


def _decode_png(image: tf.Tensor) -> tf.Tensor:
    with tf.control_dependencies([_require_decodable(_png_shape(image))]):
        return tf.io.decode_png(image, channels=3)


def _png_shape(image: tf.Tensor) -> tf.Tensor:
    """Reads height and width from the header at the start of a PNG."""
    header = tf.strings.join([image, bytes(PNG_HEADER_BYTES)])  # it can be truncated
    width_height = tf.io.decode_raw(tf.strings.substr(header, 16, 8), tf.int32, little_endian=False)
    return tf.reverse(width_height, [0])


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def _decode_other(image: tf.Tensor) -> tf.Tensor:
    """Decodes a GIF, BMP or WebP; any other content is an error."""

    def decode_or_nothing(encoded: bytes) -> np.ndarray:
        try:
            return decode_with_pillow(encoded, max_pixels=MAX_PIXELS)
        except BadImage:  # raised here, it would leave a traceback in the log
            return np.zeros([0, 0, 3], np.uint8)

    pixels = tf.numpy_function(decode_or_nothing, [image], tf.uint8, stateful=False)
    with tf.control_dependencies([tf.debugging.Assert(tf.size(pixels) > 0, ['bad image'])]):
        return tf.ensure_shape(pixels, [None, None, 3])


def _is_decodable(shape: tf.Tensor) -> tf.Tensor:
    return tf.reduce_prod(tf.cast(shape, tf.int64)) <= MAX_PIXELS


def _require_decodable(shape: tf.Tensor) -> tf.Operation:
    return tf.debugging.Assert(_is_decodable(shape), ['too many pixels'])


def describe_fault(encoded: bytes) -> str:
    """Returns the reason why an image cannot be decoded, given its bytes."""
    if not encoded:
        return 'it is empty'
    try:
        if encoded.startswith(PNG_SIGNATURE):
            if len(encoded) < PNG_HEADER_BYTES:
                return 'its header is incomplete'
            height, width = _png_shape(tf.constant(encoded)).numpy()
        elif encoded.startswith(b'\xff\xd8\xff'):
            height, width = tf.io.extract_jpeg_shape(encoded).numpy()[:2]
        else:
            height, width, _ = decode_with_pillow(encoded, max_pixels=MAX_PIXELS).shape
    except BadImage as fault:
        return str(fault)
    except tf.errors.InvalidArgumentError:
        return 'its header is incomplete'
    if int(height) * int(width) > MAX_PIXELS:
        return f'it is {width} x {height} px, more than {MAX_PIXELS:,} pixels'
    return 'it is truncated or damaged'
