"""Preprocessing and augmentation: geometry, randomness, and images that cannot be read."""

import io
from pathlib import Path

import numpy as np
import pytest
import sklearn
import tensorflow as tf
from PIL import Image

from resnet_jax.config import schema
from resnet_jax.config.ranges import RANGES
from resnet_jax.data import augmentation, preprocessing
from resnet_jax.errors import InputError

PHOTOS = [Path(sklearn.__file__).parent / f'datasets/images/{n}.jpg' for n in ('china', 'flower')]
AUGMENTATIONS = ('random_resized_crop', 'crop_mirror', 'pad_crop', 'shift', 'none')


def config_of(image_size, resize_size=None, **data):
    config = schema.get_config()
    config.data.image_size = image_size
    config.data.resize_size = resize_size or image_size
    config.data.update(data)
    return config


def coordinates(height, width):
    """An image whose pixels hold their row + 1, column + 1, and 200; none is black."""
    rows, columns = np.mgrid[1 : height + 1, 1 : width + 1]
    return np.stack([rows, columns, np.full_like(rows, 200)], axis=-1).astype(np.uint8)


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def encode(pixels, kind):
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, kind)
    return encoded.getvalue()


def augment(config, image, count, first=0):
    """Returns the results `[count, S, S, 3]` of as many seeds."""
    transform = augmentation.make_train_transform(config)
    seeds = tf.data.Dataset.range(first, first + count)
    image = tf.constant(image)
    images = seeds.map(
        lambda i: transform(image, tf.stack([i, 7 * i]), config.data.image_size),
        num_parallel_calls=2,
    )
    return np.stack(list(images.as_numpy_iterator()))


@pytest.mark.parametrize('kind', ['pixels', 'PNG'])
@pytest.mark.parametrize(
    ('height', 'width', 'side', 'top', 'left'),
    [
        (16, 16, 14, 1, 1),
        (16, 40, 14, 1, 13),
        (41, 16, 14, 13, 1),
        (16, 25, 14, 1, 5),
        (17, 17, 14, 1, 1),
        (17, 30, 15, 1, 7),
        (31, 17, 15, 8, 1),
        (16, 21, 16, 0, 2),
    ],
)
def test_evaluation_cuts_the_centre_window(kind, height, width, side, top, left):
    image = coordinates(height, width)
    transform = preprocessing.make_evaluation_transform(config_of(side, min(height, width)))
    cut = transform(tf.constant(image if kind == 'pixels' else encode(image, kind))).numpy()
    assert np.array_equal(cut, image[top : top + side, left : left + side])


def test_evaluation_scales_the_window_with_the_image():
    transform = preprocessing.make_evaluation_transform(config_of(14, 16))
    half = transform(tf.constant(coordinates(32, 96))).numpy().astype(float)
    pixels = np.arange(14)
    rows, columns = half[..., 0] - 1, half[..., 1] - 1  # a 28 px window at (2, 34)
    assert (abs(rows - (2 + 2 * pixels + 0.5)[:, None])[1:-1] <= 0.5).all()
    assert (abs(columns - (34 + 2 * pixels + 0.5))[:, 1:-1] <= 0.5).all()
    assert (half[..., 2] == 200).all()


@pytest.mark.parametrize('photo', PHOTOS, ids=lambda path: path.stem)
@pytest.mark.parametrize('method', ['bilinear', 'bicubic'])
@pytest.mark.parametrize(('size', 'short'), [(224, 256), (64, 64), (299, 480)])
def test_evaluation_resizes_and_then_crops_as_pillow_does(photo, method, size, short):
    transform = preprocessing.make_evaluation_transform(
        config_of(size, short, validation_interpolation=method)
    )
    image = Image.open(photo)
    width, height = (side * short // min(image.size) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    channels = [  # as floats: Pillow rounds bytes between its two passes
        channel.convert('F')
        .resize((width, height), Image.Resampling[method.upper()])
        .crop((left, top, left + size, top + size))
        for channel in image.split()
    ]
    expected = np.stack(channels, axis=-1).clip(0, 255)
    from_pixels = transform(tf.constant(np.asarray(image))).numpy()
    assert abs(from_pixels - expected).max() < 0.51
    from_jpeg = transform(tf.constant(photo.read_bytes())).numpy()
    assert abs(from_jpeg - expected).mean() < 2  # Pillow's JPEG decoder rounds otherwise


@pytest.mark.parametrize('size', [8, 32])
@pytest.mark.parametrize('kind', ['pixels', 'PNG'])
def test_an_image_of_the_right_size_stays_as_it_is(size, kind):
    image = noise(size, size)
    given = tf.constant(image if kind == 'pixels' else encode(image, kind))
    config = config_of(size, augmentation='none')
    assert np.array_equal(preprocessing.make_evaluation_transform(config)(given), image)
    assert np.array_equal(augment(config, given, 1)[0], image)


@pytest.mark.parametrize('augmentation', AUGMENTATIONS)
@pytest.mark.parametrize(('height', 'width'), [(40, 60), (10, 7), (1, 1)])
def test_augmented_images_have_the_networks_size(augmentation, height, width):
    images = augment(config_of(16, 18, augmentation=augmentation), noise(height, width), 8)
    assert (images.dtype, images.shape) == (np.uint8, (8, 16, 16, 3))


@pytest.mark.parametrize('augmentation', AUGMENTATIONS)
def test_augmentation_is_a_function_of_the_seed(augmentation):
    config = config_of(16, 18, augmentation=augmentation)
    images = augment(config, noise(40, 60), 20)
    assert np.array_equal(images, augment(config, noise(40, 60), 20))
    different = len({image.tobytes() for image in images})
    assert different == 1 if augmentation == 'none' else different >= 12


def random_windows(height, width, count=2000):
    seeds = tf.stack([tf.range(count, dtype=tf.int64)] * 2, axis=1)
    shape = tf.constant([height, width])

    @tf.function
    def draw(seed):
        draws = tf.random.stateless_uniform([4, augmentation.CROP_ATTEMPTS], seed)
        return tf.stack(augmentation._random_window(shape, draws))

    return tf.map_fn(draw, seeds, fn_output_signature=tf.int32).numpy().astype(float).T


@pytest.mark.parametrize(('height', 'width'), [(375, 500), (500, 333), (64, 64), (9, 8)])
def test_random_crops_keep_to_their_area_and_ratio(height, width):
    top, left, h, w = random_windows(height, width)
    assert min(top.min(), left.min()) >= 0
    assert (top + h <= height).all()
    assert (left + w <= width).all()
    # Before rounding to pixels a side is at most half a pixel away.
    assert ((h + 0.5) * (w + 0.5) >= 0.08 * height * width).all()
    assert ((h - 0.5) * (w - 0.5) <= height * width).all()
    assert ((w + 0.5) / (h - 0.5) >= 3 / 4).all()
    assert ((w - 0.5) / (h + 0.5) <= 4 / 3).all()


def test_random_crops_use_their_whole_range():
    top, left, h, w = random_windows(375, 500)
    area, ratio = h * w / (375 * 500), w / h
    assert area.min() < 0.09
    assert area.max() > 0.9
    assert 0.4 < area.mean() < 0.56
    assert ratio.min() < 0.76
    assert ratio.max() > 1.32
    for start, size, extent in ((top, h, 375), (left, w, 500)):
        position = start / np.maximum(extent - size, 1)
        assert np.histogram(position, 4, (0, 1))[0].min() > 0.2 * len(position)


@pytest.mark.parametrize(
    ('height', 'width', 'window'),
    [(1000, 10, (493, 0, 13, 10)), (10, 1000, (0, 493, 10, 13)), (1, 90, (0, 44, 1, 1))],
)
def test_extreme_images_get_the_largest_centred_crop(height, width, window):
    assert {tuple(drawn) for drawn in random_windows(height, width, 50).T} == {window}
    images = augment(config_of(8, augmentation='random_resized_crop'), noise(height, width), 2)
    assert images.shape == (2, 8, 8, 3)


def offsets(images):
    """Returns `(top, left, mirrored)` of crops of `coordinates`, and checks each pixel."""
    size, cuts = images.shape[1], []
    for image in images.astype(int):
        inside = image[..., 2] == 200
        assert (image[~inside] == 0).all()
        row, column = np.argwhere(inside)[len(np.argwhere(inside)) // 2]
        mirrored = image[row, :, 1][inside[row]][0] > image[row, :, 1][inside[row]][-1]
        if mirrored:
            image, inside, column = image[:, ::-1], inside[:, ::-1], size - 1 - column
        top, left = image[row, column, 0] - 1 - row, image[row, column, 1] - 1 - column
        rows, columns = np.nonzero(inside)
        assert (image[inside][:, 0] - 1 == rows + top).all()
        assert (image[inside][:, 1] - 1 == columns + left).all()
        cuts.append((int(top), int(left), bool(mirrored)))
    return cuts


@pytest.mark.parametrize(
    ('height', 'width', 'top', 'left'), [(16, 40, 0, 12), (41, 16, 12, 0), (16, 16, 0, 0)]
)
def test_crop_mirror_stays_in_the_centre_square(height, width, top, left):
    config = config_of(14, 16, augmentation='crop_mirror')
    cuts = offsets(augment(config, coordinates(height, width), 300))
    corners = {(top + i, left + j, m) for i in range(3) for j in range(3) for m in (False, True)}
    assert set(cuts) == corners
    assert 110 < sum(mirrored for *_, mirrored in cuts) < 190


@pytest.mark.parametrize(('size', 'pad'), [(8, 1), (32, 4)])
@pytest.mark.parametrize(('augmentation', 'mirrors'), [('pad_crop', True), ('shift', False)])
def test_shifts_reach_an_eighth_of_the_size_over_black(size, pad, augmentation, mirrors):
    config = config_of(size, augmentation=augmentation)
    cuts = offsets(augment(config, coordinates(size, size), 600))
    moves = range(-pad, pad + 1)
    assert {(top, left) for top, left, _ in cuts} == {(i, j) for i in moves for j in moves}
    assert {mirrored for *_, mirrored in cuts} == ({False, True} if mirrors else {False})


@pytest.mark.parametrize('augmentation', AUGMENTATIONS)
def test_a_jpeg_and_its_pixels_give_nearly_the_same(augmentation):
    config = config_of(96, 112, augmentation=augmentation)
    encoded = PHOTOS[0].read_bytes()
    pixels = tf.io.decode_jpeg(encoded).numpy()
    from_string = augment(config, encoded, 10).astype(int)
    difference = abs(from_string - augment(config, pixels, 10))
    assert difference.mean(axis=(1, 2, 3)).max() < 0.5


@pytest.fixture(scope='module')
def read():
    return preprocessing.make_image_reader(config_of(32, 36))


def test_the_reader_takes_paths_bytes_and_arrays(read, tmp_path):
    pixels = noise(40, 50)
    path = tmp_path / 'noise.png'
    path.write_bytes(encode(pixels, 'PNG'))
    expected = preprocessing.make_evaluation_transform(config_of(32, 36))(tf.constant(pixels))
    assert expected.shape == (32, 32, 3)
    for given in (str(path), path, path.read_bytes(), pixels):
        pixels_read = read(given)
        assert isinstance(pixels_read, np.ndarray)
        assert pixels_read.dtype == np.uint8
        assert np.array_equal(pixels_read, expected)


def test_the_reader_repeats_a_grey_array(read):
    grey = noise(40, 50)[..., 0]
    assert np.array_equal(read(grey), read(np.stack([grey] * 3, axis=-1)))


@pytest.mark.parametrize('kind', ['JPEG', 'PNG'])
def test_the_reader_takes_the_usual_formats(read, kind):
    flat = np.full((40, 50, 3), (200, 100, 30), np.uint8)
    assert abs(read(encode(flat, kind)).astype(int) - flat[0, 0]).max() <= 3


def claiming(width, height):
    """Returns a PNG whose header says that it has this size."""
    encoded = encode(noise(4, 5), 'PNG')
    return encoded[:16] + width.to_bytes(4, 'big') + height.to_bytes(4, 'big') + encoded[24:]


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        (b'', 'it is empty'),
        (b'no image at all', 'it is not a JPEG, PNG, GIF, BMP or WebP image'),
        (PHOTOS[0].read_bytes()[:60_000], 'it is truncated or damaged'),
        (PHOTOS[0].read_bytes()[:300], 'its header is incomplete'),
        (b'\xff\xd8\xff', 'its header is incomplete'),
        (encode(noise(40, 50), 'PNG')[:500], 'it is truncated or damaged'),
        (encode(noise(40, 50), 'PNG')[:20], 'its header is incomplete'),
        (encode(noise(40, 50), 'PNG')[:8], 'its header is incomplete'),
        (claiming(30_000, 20_000), 'it is 30000 x 20000 px, more than 90,000,000 pixels'),
        (encode(noise(40, 50), 'TIFF'), 'it is not a JPEG, PNG, GIF, BMP or WebP image'),
    ],
    ids=lambda value: value if isinstance(value, str) else '',
)
def test_an_image_that_cannot_be_decoded_is_refused_by_name(read, tmp_path, content, reason):
    path = tmp_path / 'broken.jpg'
    path.write_bytes(content)
    with pytest.raises(InputError) as refusal:
        read(path)
    assert str(refusal.value) == f'{path}: cannot be decoded: {reason}'
    with pytest.raises(InputError) as refusal:
        read(content)
    assert str(refusal.value) == f'image: cannot be decoded: {reason}'


def test_a_file_that_cannot_be_opened_is_refused_by_name(read, tmp_path):
    with pytest.raises(InputError, match=rf'^{tmp_path}/none.jpg: .*No such file'):
        read(str(tmp_path / 'none.jpg'))
    with pytest.raises(InputError, match=rf'^{tmp_path}: .*found a folder'):
        read(tmp_path)


@pytest.mark.parametrize(
    'array',
    [
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8, 3), np.int64),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8, 1), np.uint8),
        np.zeros((2, 8, 8, 3), np.uint8),
        np.zeros(8, np.uint8),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros((0, 8), np.uint8),
    ],
    ids=lambda array: f'{array.dtype}{list(array.shape)}',
)
def test_an_array_of_another_type_or_shape_is_refused(read, array):
    with pytest.raises(InputError, match=r'expected uint8 of shape \[H, W\]') as refusal:
        read(array)
    assert str(array.dtype) in str(refusal.value)


def test_a_long_image_is_resized_at_the_largest_allowed_size():
    config = config_of(8, RANGES['data.resize_size'][1])
    transform = preprocessing.make_evaluation_transform(config)
    row = np.linspace(0, 250, 400_000).astype(np.uint8)
    pixels = np.broadcast_to(row[None, :, None], (2, len(row), 3))
    assert config.data.resize_size * len(row) > 2**31
    centre = transform(tf.constant(pixels)).numpy()
    assert abs(centre.astype(int) - 125).max() <= 1
