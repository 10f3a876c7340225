"""Random augmentation of training images: crops, shifts and mirroring.

All random numbers of an image come from one seed, so the same image and seed always give the same
result.
"""

import math
from collections.abc import Callable

import tensorflow as tf
from ml_collections import ConfigDict

from resnet_jax.data import decoding, preprocessing

Window = tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]
"""Top, left, height and width of a crop in px of the image, int32 scalars."""

CROP_AREA = (0.08, 1.0)  # as a share of the image's area
CROP_RATIO = (3 / 4, 4 / 3)  # of width to height
CROP_ATTEMPTS = 10


def make_train_transform(
    config: ConfigDict,
) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor | int], tf.Tensor]:
    """Returns `transform(image, seed, size)` for the config's augmentation.

    The transform takes a stored image, a seed (int64 `[2]`) and a side in px, and returns uint8
    `[size, size, 3]`. The values of `config.data.augmentation`:

    - `'random_resized_crop'` (Szegedy et al. 2015, arXiv:1409.4842, as torchvision defines it):
      crops 8-100 % of the area at a ratio of 3:4 to 4:3, and mirrors half of the images.
    - `'crop_mirror'` (2016): crops a square as large as evaluation's from a random place in the
      centre square, and mirrors half of the images.
    - `'pad_crop'` (He et al. 2015): adds a black border of an eighth of the size, crops at a random
      place, and mirrors half of the images.
    - `'shift'`: the same without mirroring, for digits.
    - `'none'`: the image as evaluation sees it.

    Only the first two accept another size than `config.data.image_size`.
    """
    data = config.data
    windows = {
        'random_resized_crop': _random_window,
        'crop_mirror': lambda shape, draws: _shifted_window(
            shape, draws, data.image_size / data.resize_size
        ),
    }
    evaluation_transform = preprocessing.make_evaluation_transform(config)

    def transform(image: tf.Tensor, seed: tf.Tensor, size: tf.Tensor | int) -> tf.Tensor:
        # One call draws all random numbers: each call costs as much as a small resize.
        draws = tf.random.stateless_uniform([5, CROP_ATTEMPTS], seed)
        if data.augmentation in windows:

            def crop_and_resize(shape: tf.Tensor, crop: Callable) -> tf.Tensor:
                window = windows[data.augmentation](shape, draws[:4])
                return preprocessing.resize(crop(*window), size, data.train_interpolation)

            image = decoding.with_crop(image, crop_and_resize, upright=data.exif_orientation)
        else:
            image = evaluation_transform(image)
            if data.augmentation in ('pad_crop', 'shift'):
                image = _pad_and_crop(image, draws[:2, 0])
        if data.augmentation in ('random_resized_crop', 'crop_mirror', 'pad_crop'):
            # `tf.reverse`, because a slice with a negative step takes as long as decoding.
            image = tf.cond(draws[4, 0] < 0.5, lambda: tf.reverse(image, [1]), lambda: image)
        return image

    return transform


def _centre_window(shape: tf.Tensor, fraction: float) -> Window:
    """Returns a centred square whose side is a fraction of the short side."""
    side = tf.round(tf.cast(tf.reduce_min(shape), tf.float32) * fraction)
    side = tf.maximum(tf.cast(side, tf.int32), 1)
    return (shape[0] - side) // 2, (shape[1] - side) // 2, side, side


def _shifted_window(shape: tf.Tensor, draws: tf.Tensor, fraction: float) -> Window:
    """Returns a square at a random place in the centre square.

    Its side is a fraction of the short side; the centre square is the largest centred square.
    """
    side = _centre_window(shape, fraction)[-1]
    top, left, short, _ = _centre_window(shape, 1.0)
    num_positions = tf.cast(short - side + 1, tf.float32)
    shift = tf.cast(draws[:2, 0] * num_positions, tf.int32)
    return top + shift[0], left + shift[1], side, side


def _random_window(shape: tf.Tensor, draws: tf.Tensor) -> Window:
    """Returns a window of random area and ratio: the first of ten draws that fits into the image.

    If none fits, returns the largest centred window whose ratio is allowed, as torchvision does.

    Args:
      shape: height and width of the image in px, int32 `[2]`.
      draws: random numbers from [0, 1), float32 `[4, 10]`: area, ratio, vertical and horizontal
        position of each of the ten windows.
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
    chosen = tf.argmax(fits)
    size = candidates[:, chosen]
    centre = tf.fill([2, 1], 0.4999)  # rounds odd margins down
    position = tf.concat([draws[2:], centre], axis=1)[:, chosen]
    top_left = tf.floor(position * (extent - size + 1))
    return tuple(tf.unstack(tf.cast(tf.concat([top_left, size], axis=0), tf.int32)))


def _pad_and_crop(image: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Adds a black border of an eighth of the size, and crops the old size at a random place."""
    size = image.shape[0]
    pad = max(size // 8, 1)
    top, left = tf.unstack(tf.cast(draws * (2 * pad + 1), tf.int32))
    padded = tf.pad(image, [[pad, pad], [pad, pad], [0, 0]])
    return tf.ensure_shape(padded[top : top + size, left : left + size], image.shape)
