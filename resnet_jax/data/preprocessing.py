"""From stored images to uint8 squares of the network's size.

Everything random is a function of a seed `[2]`. An image is a JPEG or PNG as a string (a JPEG is
decoded only inside the crop) or uint8 `[H, W, 3]`.
"""

import functools
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
    _, radius = RESIZE_KERNELS[data.validation_interpolation]

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
            translation = tf.cast(first, tf.float32) * scale - offset
            sampled = resize_smoothly(
                pixels, [size, size], scale, translation, data.validation_interpolation
            )
            return tf.ensure_shape(sampled, [size, size, 3])

        return _with_crop(image, crop_and_resize)

    return transform


def resize_smoothly(
    pixels: tf.Tensor,
    size: tf.Tensor | list[int],
    scale: tf.Tensor,
    translation: tf.Tensor,
    method: str,
) -> tf.Tensor:
    """Samples pixels with an antialiasing filter, as Pillow does.

    Args:
      pixels: uint8 `[H, W, 3]`.
      size: int32 `[2]`, px of the result.
      scale: float32 `[2]`, px of the result over those of the image.
      translation: float32 `[2]`, px of the result by which the scaled image lies further.
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


def make_train_transform(
    config: ConfigDict,
) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor | int], tf.Tensor]:
    """Returns `transform(image, seed, size)` for the config's augmentation.

    The result is uint8 `[size, size, 3]`. `'random_resized_crop'` (Szegedy et al. 2015,
    arXiv:1409.4842, as torchvision defines it): 8-100 % of the area at a ratio of 3:4 to 4:3.
    `'crop_mirror'` (2016): a crop of evaluation's size anywhere in the centre square. Both mirror
    half of the images. `'pad_crop'` (He et al. 2015): an eighth of the size in black on each side,
    a random crop, mirrored half of the time; `'shift'` is the same unmirrored, for digits. Only the
    first two take another size than `image_size`.
    """
    data = config.data
    windows = {
        'random_resized_crop': _random_window,
        'crop_mirror': lambda shape, draws: _shifted_window(
            shape, draws, data.image_size / data.resize_size
        ),
    }
    evaluation_transform = make_evaluation_transform(config)

    def transform(image: tf.Tensor, seed: tf.Tensor, size: tf.Tensor | int) -> tf.Tensor:
        # One call for all that is random: each of TensorFlow's costs as much as a small resize.
        draws = tf.random.stateless_uniform([5, CROP_ATTEMPTS], seed)
        if data.augmentation in windows:

            def crop_and_resize(shape: tf.Tensor, crop: Callable) -> tf.Tensor:
                window = windows[data.augmentation](shape, draws[:4])
                return _resize(crop(*window), size, data.train_interpolation)

            image = _with_crop(image, crop_and_resize)
        else:
            image = evaluation_transform(image)
            if data.augmentation in ('pad_crop', 'shift'):
                image = _pad_and_crop(image, draws[:2, 0])
        if data.augmentation in ('random_resized_crop', 'crop_mirror', 'pad_crop'):
            # A slice with a negative step would take as long as decoding.
            mirrored = tf.stack([False, draws[4, 0] < 0.5, False])
            image = tf.raw_ops.Reverse(tensor=image, dims=mirrored)
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


def _resize(image: tf.Tensor, size: tf.Tensor | int, method: str) -> tf.Tensor:
    image = tf.image.resize(image, tf.stack([size, size]), method=method)
    if method == 'bilinear':  # it stays among the levels that it mixes
        return tf.cast(image + 0.5, tf.uint8)
    return _to_uint8(image)


def _to_uint8(image: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.clip_by_value(image, 0.0, 255.0) + 0.5, tf.uint8)


def _round(x: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.round(x), tf.int32)


def _centre_window(shape: tf.Tensor, fraction: float) -> Window:
    """A centred square whose side is a fraction of the short side."""
    side = tf.maximum(_round(tf.cast(tf.reduce_min(shape), tf.float32) * fraction), 1)
    return (shape[0] - side) // 2, (shape[1] - side) // 2, side, side


def _shifted_window(shape: tf.Tensor, draws: tf.Tensor, fraction: float) -> Window:
    """A square of the same side, anywhere in the centred square over the whole short side."""
    side = _centre_window(shape, fraction)[-1]
    top, left, short, _ = _centre_window(shape, 1.0)
    places = tf.cast(short - side + 1, tf.float32)
    shift = tf.cast(draws[:2, 0] * places, tf.int32)
    return top + shift[0], left + shift[1], side, side


def _random_window(shape: tf.Tensor, draws: tf.Tensor) -> Window:
    """A window of random area and ratio: the first of ten draws that lies in the image.

    If none does, the largest centred window whose ratio is allowed, as in torchvision.

    Args:
      shape: int32 `[2]`, height and width.
      draws: float32 `[4, 10]` from [0, 1): area, ratio, and place on each axis.
    """
    extent = tf.cast(shape, tf.float32)
    low, high = (math.log(ratio) for ratio in CROP_RATIO)
    area = CROP_AREA[0] + (CROP_AREA[1] - CROP_AREA[0]) * draws[0]
    half_log_ratio = low / 2 + (high - low) / 2 * draws[1]
    stretch = tf.exp(half_log_ratio * tf.constant([[-1.0], [1.0]]))
    sizes = tf.round(tf.sqrt(area * tf.reduce_prod(extent)) * stretch)
    largest = tf.round(extent[::-1] * tf.constant([1 / CROP_RATIO[0], CROP_RATIO[1]]))
    largest = tf.minimum(tf.maximum(largest, 1.0), extent)
    candidates = tf.concat([sizes, largest[:, tf.newaxis]], axis=1)
    fits = tf.reduce_all((candidates <= extent[:, tf.newaxis]) & (candidates > 0), axis=0)
    first = tf.argmax(fits)
    size = candidates[:, first]
    centre = tf.fill([2, 1], 0.4999)  # rounds odd margins down
    place = tf.concat([draws[2:], centre], axis=1)[:, first]
    begin = tf.floor(place * (extent - size + 1))
    return tuple(tf.unstack(tf.cast(tf.concat([begin, size], axis=0), tf.int32)))


def _pad_and_crop(image: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    size = image.shape[0]
    pad = max(size // 8, 1)
    top, left = tf.unstack(tf.cast(draws * (2 * pad + 1), tf.int32))
    padded = tf.pad(image, [[pad, pad], [pad, pad], [0, 0]])
    return tf.ensure_shape(padded[top : top + size, left : left + size], image.shape)
