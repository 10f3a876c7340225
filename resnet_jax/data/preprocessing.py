"""From stored images to uint8 squares of the network's size.

Everything random is a function of a seed `[2]`. An image is a JPEG or PNG as a string (a JPEG is
decoded only inside the crop) or uint8 `[H, W, 3]`.
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from resnet_jax.types import InputError

Window = tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]
"""Top, left, height and width in px of the stored image, int32."""

MAX_PIXELS = 90_000_000
"""Larger images are refused before they are decoded: a small file can claim any size."""

RESIZE_KERNELS = {'bilinear': ('triangle', 1), 'bicubic': ('keyscubic', 2)}
"""TensorFlow's names of the antialiased kernels, and their radius in px of the smaller image."""

PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
PNG_HEADER_BYTES = 24  # to the end of width and height

CROP_AREA = (0.08, 1.0)
CROP_RATIO = (3 / 4, 4 / 3)
CROP_ATTEMPTS = 10


def make_evaluation_transform(config: ConfigDict) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns `transform(image)`: resized to a short side of `resize_size`, the centre cut out.

    The resize has an antialiasing filter, like Pillow's. Only the pixels that the centre square
    needs are decoded, and they are sampled once, where the resized image's pixels lie. The result
    is uint8 `[image_size, image_size, 3]`.
    """
    data, size = config.data, config.data.image_size
    kernel, radius = RESIZE_KERNELS[data.validation_interpolation]

    def transform(image: tf.Tensor) -> tf.Tensor:
        def crop_and_resize(shape: tf.Tensor, crop: Callable) -> tf.Tensor:
            short = tf.reduce_min(shape)
            resized = shape * data.resize_size // short
            scale = tf.cast(resized, tf.float32) / tf.cast(shape, tf.float32)
            offset = tf.cast((resized - size) // 2, tf.float32)
            margin = radius * tf.maximum(1 / scale, 1) + 1
            first = tf.maximum(tf.cast(tf.floor(offset / scale - margin), tf.int32), 0)
            end = tf.cast(tf.math.ceil((offset + size) / scale + margin), tf.int32)
            extent = tf.minimum(end, shape) - first
            pixels = crop(first[0], first[1], extent[0], extent[1])
            sampled = tf.raw_ops.ScaleAndTranslate(
                images=tf.cast(pixels, tf.float32)[tf.newaxis],
                size=[size, size],
                scale=scale,
                translation=tf.cast(first, tf.float32) * scale - offset,
                kernel_type=kernel,
                antialias=True,
            )
            return _to_uint8(sampled[0], size)

        return _with_crop(image, crop_and_resize)

    return transform


def make_train_transform(config: ConfigDict) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Returns `transform(image, seed)` for the config's augmentation.

    The result is uint8 `[image_size, image_size, 3]`. `'random_resized_crop'` (Szegedy et al. 2015,
    arXiv:1409.4842, as torchvision defines it): 8-100 % of the area at a ratio of 3:4 to 4:3.
    `'crop_mirror'` (2016): a crop of evaluation's size anywhere in the centre square. Both mirror
    half of the images. `'pad_crop'` (He et al. 2015): an eighth of the size in black on each side,
    a random crop, mirrored half of the time; `'shift'` is the same unmirrored, for digits.
    """
    data = config.data
    windows = {
        'random_resized_crop': _random_window,
        'crop_mirror': lambda shape, seed: _shifted_window(
            shape, seed, data.image_size / data.resize_size
        ),
    }
    evaluation_transform = make_evaluation_transform(config)

    def transform(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        window_seed, mirror_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        if data.augmentation in windows:

            def crop_and_resize(shape: tf.Tensor, crop: Callable) -> tf.Tensor:
                window = windows[data.augmentation](shape, window_seed)
                return _resize(crop(*window), data.image_size, data.train_interpolation)

            image = _with_crop(image, crop_and_resize)
        else:
            image = evaluation_transform(image)
            if data.augmentation in ('pad_crop', 'shift'):
                image = _pad_and_crop(image, window_seed)
        if data.augmentation in ('random_resized_crop', 'crop_mirror', 'pad_crop'):
            image = _random_mirror(image, mirror_seed)
        return image

    return transform


def make_image_reader(
    config: ConfigDict,
) -> Callable[[str | Path | bytes | np.ndarray], np.ndarray]:
    """Returns `read(image)`, which prepares an image outside a data set as evaluation does.

    It takes a path, encoded bytes, or a uint8 array `[H, W]` or `[H, W, 3]`, and returns uint8
    `[image_size, image_size, 3]`. It raises `InputError` with the file's name and the reason when
    the image cannot be read.
    """
    return _make_reader(make_evaluation_transform(config))


def make_view_reader(side: int) -> Callable[[str | Path | bytes | np.ndarray], np.ndarray]:
    """Returns `read(image)`, which reads a whole image, to look at.

    It takes and raises what that of `make_image_reader` does, and returns uint8 `[H, W, 3]`, made
    smaller where a side is longer than `side` px.
    """

    def transform(image: tf.Tensor) -> tf.Tensor:
        def shrink(shape: tf.Tensor, crop: Callable) -> tf.Tensor:
            scale = tf.minimum(side / tf.cast(tf.reduce_max(shape), tf.float32), 1.0)
            size = tf.maximum(_round(tf.cast(shape, tf.float32) * scale), 1)
            pixels = crop(0, 0, shape[0], shape[1])
            resized = tf.image.resize(pixels, size, antialias=True)
            return tf.cast(tf.clip_by_value(tf.round(resized), 0.0, 255.0), tf.uint8)

        return _with_crop(image, shrink)

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
        name = 'image' if isinstance(image, bytes) else str(image)
        try:
            encoded = image if isinstance(image, bytes) else Path(image).read_bytes()
            return transform_encoded(encoded).numpy()
        except OSError as error:
            raise InputError(f'{name}: cannot be read: {error.strerror}') from None
        except tf.errors.InvalidArgumentError:
            raise InputError(f'{name}: cannot be decoded: {describe_fault(encoded)}') from None

    return read


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


def _as_rgb(image: np.ndarray) -> np.ndarray:
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=-1)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3 or not image.size:
        raise InputError(
            'image array: expected uint8 of shape [H, W] or [H, W, 3], found '
            f'{image.dtype} of shape {list(image.shape)}'
        )
    return image


def _with_crop(image: tf.Tensor, use: Callable[[tf.Tensor, Callable], tf.Tensor]) -> tf.Tensor:
    """Calls `use(shape, crop)` with the image's `[H, W]` and the cheapest way to cut a window."""

    def from_pixels(pixels: tf.Tensor) -> tf.Tensor:
        return use(
            tf.shape(pixels)[:2],
            lambda top, left, height, width: pixels[top : top + height, left : left + width],
        )

    if image.dtype != tf.string:
        return from_pixels(image)

    def from_jpeg() -> tf.Tensor:
        shape = _checked(tf.io.extract_jpeg_shape(image)[:2])
        return use(
            shape, lambda *window: tf.io.decode_and_crop_jpeg(image, tf.stack(window), channels=3)
        )

    def from_png() -> tf.Tensor:
        with tf.control_dependencies([_checked(_png_shape(image))]):
            return from_pixels(tf.io.decode_png(image, channels=3))

    return tf.cond(tf.io.is_jpeg(image), from_jpeg, from_png)


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


def _checked(shape: tf.Tensor) -> tf.Tensor:
    pixels = tf.reduce_prod(tf.cast(shape, tf.int64))
    check = tf.debugging.assert_less_equal(
        pixels, tf.constant(MAX_PIXELS, tf.int64), 'more pixels than are decoded'
    )
    with tf.control_dependencies([check]):
        return tf.identity(shape)


def _resize(image: tf.Tensor, size: int, method: str) -> tf.Tensor:
    return _to_uint8(tf.image.resize(image, [size, size], method=method), size)


def _to_uint8(image: tf.Tensor, size: int) -> tf.Tensor:
    image = tf.cast(tf.clip_by_value(tf.round(image), 0.0, 255.0), tf.uint8)
    return tf.ensure_shape(image, [size, size, 3])


def _round(x: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.round(x), tf.int32)


def _centre_window(shape: tf.Tensor, fraction: float) -> Window:
    """A centred square whose side is a fraction of the short side."""
    side = tf.maximum(_round(tf.cast(tf.reduce_min(shape), tf.float32) * fraction), 1)
    return (shape[0] - side) // 2, (shape[1] - side) // 2, side, side


def _shifted_window(shape: tf.Tensor, seed: tf.Tensor, fraction: float) -> Window:
    """A square of the same side, anywhere in the centred square over the whole short side."""
    side = _centre_window(shape, fraction)[-1]
    top, left, short, _ = _centre_window(shape, 1.0)
    shift = tf.random.stateless_uniform([2], seed, 0, short - side + 1, tf.int32)
    return top + shift[0], left + shift[1], side, side


def _random_window(shape: tf.Tensor, seed: tf.Tensor) -> Window:
    """A window of random area and ratio: the first of ten draws that lies in the image.

    If none does, the largest centred window whose ratio is allowed.
    """
    height, width = tf.unstack(tf.cast(shape, tf.float32))
    draws = tf.random.stateless_uniform([4, CROP_ATTEMPTS], seed)
    area = height * width * (CROP_AREA[0] + (CROP_AREA[1] - CROP_AREA[0]) * draws[0])
    low, high = (math.log(ratio) for ratio in CROP_RATIO)
    ratio = tf.exp(low + (high - low) * draws[1])
    widths, heights = tf.round(tf.sqrt(area * ratio)), tf.round(tf.sqrt(area / ratio))
    fits = (widths <= width) & (heights <= height) & (widths > 0) & (heights > 0)
    first = tf.argmax(fits)
    tops = tf.floor(draws[2] * (height - heights + 1))
    lefts = tf.floor(draws[3] * (width - widths + 1))
    largest_width = tf.minimum(width, tf.maximum(tf.round(height * CROP_RATIO[1]), 1))
    largest_height = tf.minimum(height, tf.maximum(tf.round(width / CROP_RATIO[0]), 1))
    largest = (
        tf.floor((height - largest_height) / 2),
        tf.floor((width - largest_width) / 2),
        largest_height,
        largest_width,
    )
    window = tf.where(
        tf.reduce_any(fits),
        tf.stack([tops[first], lefts[first], heights[first], widths[first]]),
        tf.stack(largest),
    )
    return tuple(tf.unstack(tf.cast(window, tf.int32)))


def _pad_and_crop(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    size = image.shape[0]
    pad = max(size // 8, 1)
    top, left = tf.unstack(tf.random.stateless_uniform([2], seed, 0, 2 * pad + 1, tf.int32))
    padded = tf.pad(image, [[pad, pad], [pad, pad], [0, 0]])
    return tf.ensure_shape(padded[top : top + size, left : left + size], image.shape)


def _random_mirror(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    mirror = tf.random.stateless_uniform([], seed) < 0.5
    # A slice with a negative step would take as long as decoding.
    return tf.cond(mirror, lambda: tf.reverse(image, [1]), lambda: image)
