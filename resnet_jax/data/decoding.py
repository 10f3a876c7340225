"""JPEGs and PNGs as strings: decoding all of one or a window, and what is wrong with one.

Where images are pixels already, uint8 `[H, W, 3]`, the same functions pass those on.
"""

import functools
from collections.abc import Callable

import tensorflow as tf

MAX_PIXELS = 90_000_000
"""Larger images are refused before they are decoded: a small file can claim any size."""

PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
PNG_HEADER_BYTES = 24  # to the end of width and height


def decode(image: tf.Tensor, *, at_least: int) -> tf.Tensor:
    """Decodes a whole image, a large JPEG at 1/2, 1/4 or 1/8 of its size.

    Args:
      image: a JPEG or PNG as a string, or uint8 `[H, W, 3]`, which is returned as it is.
      at_least: px that the short side keeps, if it has them.

    Returns:
      uint8 `[H, W, 3]`.
    """
    if image.dtype != tf.string:
        return image

    def from_jpeg() -> tf.Tensor:
        shape = tf.io.extract_jpeg_shape(image)[:2]
        fraction = tf.reduce_sum(
            tf.cast([tf.reduce_min(shape) >= at_least * ratio for ratio in (2, 4, 8)], tf.int32)
        )
        with tf.control_dependencies([_require_decodable(shape)]):
            return tf.switch_case(
                fraction,
                [
                    functools.partial(tf.io.decode_jpeg, image, channels=3, ratio=ratio)
                    for ratio in (1, 2, 4, 8)
                ],
            )

    return tf.cond(tf.io.is_jpeg(image), from_jpeg, lambda: _decode_png(image))


def with_crop(image: tf.Tensor, use: Callable[[tf.Tensor, Callable], tf.Tensor]) -> tf.Tensor:
    """Calls `use(shape, crop)` with the image's `[H, W]` and the cheapest way to cut a window."""

    def from_pixels(pixels: tf.Tensor) -> tf.Tensor:
        return use(
            tf.shape(pixels)[:2],
            lambda top, left, height, width: pixels[top : top + height, left : left + width],
        )

    if image.dtype != tf.string:
        return from_pixels(image)

    def from_jpeg() -> tf.Tensor:
        shape = tf.io.extract_jpeg_shape(image)[:2]
        # No window fits into nothing, so decoding fails; an assertion costs more than the header.
        shape = tf.where(_is_decodable(shape), shape, 0)
        return use(
            shape, lambda *window: tf.io.decode_and_crop_jpeg(image, tf.stack(window), channels=3)
        )

    return tf.cond(tf.io.is_jpeg(image), from_jpeg, lambda: from_pixels(_decode_png(image)))


def _decode_png(image: tf.Tensor) -> tf.Tensor:
    with tf.control_dependencies([_require_decodable(_png_shape(image))]):
        return tf.io.decode_png(image, channels=3)


def _png_shape(image: tf.Tensor) -> tf.Tensor:
    """Reads height and width from the header, which stands first in any PNG."""
    signature = tf.strings.substr(image, 0, len(PNG_SIGNATURE))
    check = tf.debugging.assert_equal(
        signature, PNG_SIGNATURE, 'not a JPEG or PNG image', summarize=0
    )
    with tf.control_dependencies([check]):
        header = tf.strings.join([image, bytes(PNG_HEADER_BYTES)])  # it may be cut short
        width_height = tf.io.decode_raw(
            tf.strings.substr(header, 16, 8), tf.int32, little_endian=False
        )
    return width_height[::-1]


def _is_decodable(shape: tf.Tensor) -> tf.Tensor:
    return tf.reduce_prod(tf.cast(shape, tf.int64)) <= MAX_PIXELS


def _require_decodable(shape: tf.Tensor) -> tf.Operation:
    return tf.debugging.Assert(_is_decodable(shape), ['more pixels than are decoded'])


def describe_fault(encoded: bytes) -> str:
    """Says why a string that cannot be decoded cannot be."""
    if not encoded:
        return 'it is empty'
    if not encoded.startswith((PNG_SIGNATURE, b'\xff\xd8\xff')):
        return 'it is not a JPEG or PNG image'
    try:
        if encoded.startswith(PNG_SIGNATURE):
            if len(encoded) < PNG_HEADER_BYTES:
                return 'its header is not whole'
            height, width = _png_shape(tf.constant(encoded)).numpy()
        else:
            height, width = tf.io.extract_jpeg_shape(encoded).numpy()[:2]
    except tf.errors.InvalidArgumentError:
        return 'its header is not whole'
    if int(height) * int(width) > MAX_PIXELS:
        return f'it is {width} x {height} px, more than {MAX_PIXELS:,} pixels'
    return 'it is truncated or damaged'
