"""Resampling: training's crops and resizes compared with NumPy, evaluation's with Pillow."""

import io

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from support.preparing import PHOTOS

from resnet_jax.config import schema
from resnet_jax.data import preprocessing
from resnet_jax.data.augmentation import make_train_transform

KERNELS = {
    'bilinear': (1, lambda x: np.maximum(1 - abs(x), 0)),
    'bicubic': (  # Keys 1981, a = -0.5
        2,
        lambda x: np.select(
            [abs(x) <= 1, abs(x) < 2],
            [1.5 * abs(x) ** 3 - 2.5 * x**2 + 1, -0.5 * abs(x) ** 3 + 2.5 * x**2 - 4 * abs(x) + 2],
            0,
        ),
    ),
}


def make_config(image_size, **data):
    config = schema.get_config()
    config.data.image_size, config.data.resize_size = image_size, image_size * 8 // 7
    config.data.update(data)
    return config


def sample_axis(pixels, size, kernel):
    """Resizes the first axis without antialiasing; positions outside the image have weight 0."""
    radius, weigh = KERNELS[kernel]
    length = len(pixels)
    places = (np.arange(size) + 0.5) * length / size - 0.5
    taps = np.floor(places)[:, None] + np.arange(1 - radius, radius + 1)
    weights = weigh(taps - places[:, None]) * ((taps >= 0) & (taps < length))
    weights /= weights.sum(axis=1, keepdims=True)
    picked = pixels[np.clip(taps, 0, length - 1).astype(int)]
    return np.einsum('st,st...->s...', weights, picked)


def sample(pixels, size, kernel):
    rows = sample_axis(pixels.astype(float), size, kernel)
    both = sample_axis(rows.swapaxes(0, 1), size, kernel).swapaxes(0, 1)
    return both.clip(0, 255)


def draw(seed):
    return tf.random.stateless_uniform([5, 10], seed).numpy().astype(float)


def random_window(height, width, draws):
    """Returns the first of ten windows that fits: top, left, height, width."""
    area_draws, ratio_draws, tops, lefts, _ = draws
    for area_draw, ratio_draw, top, left in zip(area_draws, ratio_draws, tops, lefts, strict=True):
        area = height * width * (0.08 + 0.92 * area_draw)
        ratio = np.exp(np.log(3 / 4) + np.log(16 / 9) * ratio_draw)  # of width to height
        h, w = round(np.sqrt(area / ratio)), round(np.sqrt(area * ratio))
        if 0 < h <= height and 0 < w <= width:
            return int(top * (height - h + 1)), int(left * (width - w + 1)), h, w
    h = min(height, max(round(width / (3 / 4)), 1))
    w = min(width, max(round(height * 4 / 3), 1))
    return (height - h) // 2, (width - w) // 2, h, w


def shifted_window(height, width, draws):
    """Returns a square of 7/8 of the short side, inside the centre square."""
    short = min(height, width)
    side = round(short * 7 / 8)
    down, right = (int(draws[axis, 0] * (short - side + 1)) for axis in (0, 1))
    return (height - short) // 2 + down, (width - short) // 2 + right, side, side


WINDOWS = {'random_resized_crop': random_window, 'crop_mirror': shifted_window}


def train_images(config, image, seeds, size):
    transform = make_train_transform(config)
    seeds = tf.data.Dataset.from_tensor_slices(seeds)
    image = tf.constant(image)
    return list(seeds.map(lambda seed: transform(image, seed, size)).as_numpy_iterator())


SEEDS = np.random.default_rng(0).integers(0, 2**40, (24, 2))


def coordinates(height, width):
    """An image whose pixels hold their row and column, with the high digits in channel 3."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows % 256, columns % 256, rows // 256 * 16 + columns // 256], -1).astype(
        np.uint8
    )


@pytest.mark.parametrize('augmentation', WINDOWS)
@pytest.mark.parametrize('shape', [(375, 500), (500, 375), (97, 31), (20, 300), (2, 3)])
def test_windows_are_those_of_the_draws_exactly(augmentation, shape, monkeypatch):
    windows = []

    def note(pixels, size, method):
        windows.append(pixels.numpy().astype(int))
        return tf.zeros([size, size, 3], tf.uint8)

    monkeypatch.setattr(preprocessing, 'resize', note)
    transform = make_train_transform(make_config(56, augmentation=augmentation))
    image = tf.constant(coordinates(*shape))
    for seed in np.random.default_rng(1).integers(0, 2**40, (100, 2)):
        transform(image, tf.constant(seed), 8)
        top, left, height, width = WINDOWS[augmentation](*shape, draw(seed))
        expected = image.numpy()[top : top + height, left : left + width]
        assert np.array_equal(windows.pop(), expected)


@pytest.mark.parametrize('kernel', KERNELS)
@pytest.mark.parametrize('augmentation', WINDOWS)
def test_training_samples_each_window_as_numpy_does(kernel, augmentation):
    size = 112
    pixels = np.array(PIL.Image.open(PHOTOS[0]))
    config = make_config(size, augmentation=augmentation, train_interpolation=kernel)
    worst = 0
    mirrored = 0
    for seed, resized in zip(SEEDS, train_images(config, pixels, SEEDS, size), strict=True):
        draws = draw(seed)
        top, left, height, width = WINDOWS[augmentation](*pixels.shape[:2], draws)
        expected = sample(pixels[top : top + height, left : left + width], size, kernel)
        if draws[4, 0] < 0.5:
            mirrored += 1
            expected = expected[:, ::-1]
        worst = max(worst, abs(resized - expected).max())
    assert worst <= 1
    assert 6 < mirrored < 18


@pytest.mark.parametrize('kernel', KERNELS)
def test_small_and_thin_images_are_sampled_the_same(kernel):
    for height, width in [(1, 1), (2, 3), (5, 90), (40, 7)]:
        pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        config = make_config(16, augmentation='random_resized_crop', train_interpolation=kernel)
        for seed, resized in zip(SEEDS, train_images(config, pixels, SEEDS, 16), strict=True):
            draws = draw(seed)
            top, left, h, w = random_window(height, width, draws)
            expected = sample(pixels[top : top + h, left : left + w], 16, kernel)
            if draws[4, 0] < 0.5:
                expected = expected[:, ::-1]
            assert abs(resized - expected).max() <= 1


def assert_crops_of_a_jpeg_are_those_of_its_pixels(encoded, kernel):
    """Uses TensorFlow's decoder on both sides; it smooths colours across the edge of the crop."""
    pixels = tf.io.decode_jpeg(encoded, channels=3).numpy()
    config = make_config(64, augmentation='random_resized_crop', train_interpolation=kernel)
    for seed, resized in zip(SEEDS, train_images(config, encoded, SEEDS, 64), strict=True):
        draws = draw(seed)
        top, left, height, width = random_window(*pixels.shape[:2], draws)
        expected = sample(pixels[top : top + height, left : left + width], 64, kernel)
        if draws[4, 0] < 0.5:
            expected = expected[:, ::-1]
        difference = abs(resized - expected)
        assert difference[1:-1, 2:-2].max() <= 1
        assert difference.mean() < 0.5


@pytest.mark.parametrize('kernel', KERNELS)
@pytest.mark.parametrize('subsampling', [0, 2])
def test_a_jpeg_is_sampled_in_its_window(kernel, subsampling):
    encoded = io.BytesIO()
    image = PIL.Image.open(PHOTOS[1])
    image.save(encoded, 'JPEG', quality=90, subsampling=subsampling)
    assert_crops_of_a_jpeg_are_those_of_its_pixels(encoded.getvalue(), kernel)


def assert_evaluation_is_pillows(path, method):
    size, short = 224, 256
    config = make_config(size, validation_interpolation=method)
    transform = preprocessing.make_evaluation_transform(config)
    image = PIL.Image.open(path).convert('RGB')
    width, height = (side * short // min(image.size) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    image = image.resize((width, height), PIL.Image.Resampling[method.upper()])
    expected = np.asarray(image.crop((left, top, left + size, top + size))).astype(int)
    resized = transform(tf.constant(path.read_bytes())).numpy()
    assert abs(resized - expected).mean() < 2, path


@pytest.fixture(scope='module')
def imagenet_samples(shared_data):
    return sorted((shared_data / 'imagenet_samples').glob('*/*'))


@pytest.mark.parametrize('method', KERNELS)
def test_evaluation_of_photographs_is_pillows(method):
    for path in PHOTOS:
        assert_evaluation_is_pillows(path, method)


@pytest.mark.parametrize('method', KERNELS)
def test_evaluation_of_imagenets_photographs_is_pillows(imagenet_samples, method):
    assert len(imagenet_samples) > 100
    for path in imagenet_samples[::8]:
        assert_evaluation_is_pillows(path, method)


@pytest.mark.parametrize('method', KERNELS)
def test_training_samples_imagenets_photographs_as_numpy_does(imagenet_samples, method):
    for path in imagenet_samples[::40]:
        pixels = np.array(PIL.Image.open(path).convert('RGB'))
        config = make_config(64, train_interpolation=method)
        for seed, resized in zip(
            SEEDS[:4], train_images(config, pixels, SEEDS[:4], 64), strict=True
        ):
            draws = draw(seed)
            top, left, height, width = random_window(*pixels.shape[:2], draws)
            expected = sample(pixels[top : top + height, left : left + width], 64, method)
            if draws[4, 0] < 0.5:
                expected = expected[:, ::-1]
            assert abs(resized - expected).max() <= 1
