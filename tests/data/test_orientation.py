"""EXIF orientation: the eight turns, in every format and every use of an image."""

import io
import itertools
import struct

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import tensorflow as tf
from support import configs

from resnet_jax.config import data_sets, schema
from resnet_jax.data import augmentation, decoding, orientation, pipeline, preprocessing
from resnet_jax.data.sources import registry

ORIENTATION = 0x0112
LOSSLESS = {'PNG': {}, 'WEBP': {'lossless': True}}
FORMATS = ('JPEG', 'PNG', 'WEBP')
EIGHT = range(1, 9)
AUGMENTATIONS = ('random_resized_crop', 'crop_mirror', 'pad_crop', 'shift', 'none')


def picture(height=40, width=56):
    """Returns an image that differs from all its turns, smooth so that a JPEG keeps it."""
    corners = np.array([[[250, 0, 0], [0, 250, 0]], [[0, 0, 250], [120, 120, 0]]], np.uint8)
    return PIL.Image.fromarray(corners).resize((width, height), PIL.Image.Resampling.BILINEAR)


def exif_with(value):
    exif = PIL.Image.Exif()
    exif[ORIENTATION] = value
    return exif.tobytes()


def encode(image, kind='PNG', exif=b''):
    file = io.BytesIO()
    options = {'quality': 95, 'subsampling': 0} if kind == 'JPEG' else LOSSLESS[kind]
    image.save(file, kind, **options, **({'exif': exif} if exif else {}))
    return file.getvalue()


def upright(encoded):
    """Returns the pixels as Pillow turns them."""
    image = PIL.ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(encoded)))
    return np.asarray(image.convert('RGB'))


def config_of(**data):
    config = data_sets.use_data(schema.get_config(), 'digits')
    config.data.update({'image_size': 24, 'resize_size': 28, 'exif_orientation': True} | data)
    return config


@pytest.mark.parametrize('kind', FORMATS)
@pytest.mark.parametrize('value', EIGHT)
def test_an_image_is_turned_as_pillow_turns_it(kind, value):
    encoded = encode(picture(), kind, exif_with(value))
    assert orientation.find_orientation(encoded) == value
    pixels = decoding.decode(tf.constant(encoded), at_least=99, upright=True).numpy()
    expected = upright(encoded)
    assert pixels.shape == expected.shape == ((56, 40, 3) if value >= 5 else (40, 56, 3))
    assert abs(pixels.astype(int) - expected).max() <= (8 if kind == 'JPEG' else 0)


@pytest.fixture(scope='module')
def readers():
    """Functions that read an image, upright, for evaluation and prediction, and for display."""
    return {
        'evaluation': preprocessing.make_image_reader(config_of()),
        'display': preprocessing.make_view_reader(30, exif_orientation=True),
    }


@pytest.mark.parametrize('kind', FORMATS)
def test_evaluation_prediction_and_display_see_the_upright_image(readers, kind):
    for value in EIGHT:
        encoded = encode(picture(), kind, exif_with(value))
        for name, read in readers.items():
            difference = abs(read(encoded).astype(int) - read(upright(encoded)))
            assert difference.max() <= (8 if kind == 'JPEG' else 1), (name, value)


@pytest.mark.parametrize('name', AUGMENTATIONS)
def test_augmentation_sees_the_upright_image(name):
    transform = tf.function(
        augmentation.make_train_transform(config_of(augmentation=name)), reduce_retracing=True
    )
    for kind, value in itertools.product(FORMATS, EIGHT):
        encoded = encode(picture(), kind, exif_with(value))
        pixels = encode(PIL.Image.fromarray(upright(encoded)))
        for number in range(3):
            seed = tf.constant([3, number], tf.int64)
            turned = transform(tf.constant(encoded), seed, 24).numpy().astype(int)
            expected = transform(tf.constant(pixels), seed, 24).numpy()
            assert abs(turned - expected).max() <= (8 if kind == 'JPEG' else 1), (kind, value)


def test_without_the_field_the_file_is_decoded_as_it_is_stored():
    config = config_of(exif_orientation=False, augmentation='random_resized_crop')
    read, view = preprocessing.make_image_reader(config), preprocessing.make_view_reader(30)
    transform = tf.function(augmentation.make_train_transform(config))
    seed = tf.constant([3, 4], tf.int64)
    for kind, value in itertools.product(FORMATS, EIGHT):
        plain, turned = encode(picture(), kind), encode(picture(), kind, exif_with(value))
        np.testing.assert_array_equal(read(turned), read(plain))
        np.testing.assert_array_equal(view(turned), view(plain))
        np.testing.assert_array_equal(
            transform(tf.constant(turned), seed, 24), transform(tf.constant(plain), seed, 24)
        )


def test_the_field_changes_no_bit_of_an_image_without_exif(readers):
    read = preprocessing.make_image_reader(config_of(exif_orientation=False))
    for kind in FORMATS:
        encoded = encode(picture(), kind)
        np.testing.assert_array_equal(readers['evaluation'](encoded), read(encoded))


def test_a_large_jpeg_that_is_decoded_at_a_fraction_is_turned():
    encoded = encode(picture(400, 560), 'JPEG', exif_with(6))
    pixels = decoding.decode(tf.constant(encoded), at_least=40, upright=True).numpy()
    assert pixels.shape == (70, 50, 3)
    expected = PIL.Image.fromarray(upright(encoded)).resize((50, 70), PIL.Image.Resampling.BOX)
    assert abs(pixels.astype(int) - np.asarray(expected)).max() <= 12


def test_training_and_evaluation_batches_are_turned(readers, tmp_path):
    for name, value in {'a': 1, 'b': 8}.items():
        for split in ('train', 'validation'):
            path = tmp_path / split / name / 'x.png'
            path.parent.mkdir(parents=True)
            path.write_bytes(encode(picture(), 'PNG', exif_with(value)))

    def batches(exif_orientation):
        config = config_of(source='folder', dir=str(tmp_path), augmentation='none')
        config.data.exif_orientation = exif_orientation
        config.batch_size, config.num_epochs = 2, 1
        train, validation = [registry.load_source(config, s) for s in ('train', 'validation')]
        [trained] = pipeline.train_batches(train, config, start_step=0)
        [evaluated] = pipeline.evaluation_batches(validation, config, batch_size=2)
        return trained['image'][np.argsort(trained['id'])], evaluated['image']

    expected = readers['evaluation'](upright(encode(picture(), 'PNG', exif_with(8))))
    for stored, turned in zip(batches(False), batches(True), strict=True):
        np.testing.assert_array_equal(stored[0], stored[1])
        np.testing.assert_array_equal(turned, np.stack([stored[0], expected]))


def damage(content, rng):
    """Returns the content with up to four random bytes, or cut off."""
    damaged = bytearray(content)
    for position in rng.integers(0, len(content), rng.integers(1, 5)):
        damaged[position] = rng.integers(256)
    return bytes(damaged[: rng.integers(1, len(content))] if rng.random() < 0.3 else damaged)


def test_a_damaged_exif_leaves_the_image_readable():
    """Every file has a valid image and EXIF of random faults; the image is read, turned or not."""
    rng, shapes = np.random.default_rng(0), set()
    plain = encode(picture(), 'JPEG')
    for number in range(100):
        exif = damage(b'Exif\0\0' + exif_with(6).removeprefix(b'Exif\0\0'), rng)
        segment = b'\xff\xe1' + struct.pack('>H', len(exif) + 2) + exif
        encoded = plain[:2] + segment + plain[2:]
        pixels = decoding.decode(tf.constant(encoded), at_least=99, upright=True)
        shapes.add(tuple(pixels.shape))
        assert 1 <= orientation.find_orientation(encoded) <= 8, number
    assert shapes == {(40, 56, 3), (56, 40, 3)}


@pytest.mark.parametrize('kind', FORMATS)
@pytest.mark.parametrize('value', [0, 9, 99, 65535])
def test_an_unknown_orientation_leaves_the_image_as_it_is(kind, value):
    encoded = encode(picture(), kind, exif_with(value))
    assert orientation.find_orientation(encoded) == 1


def test_no_bytes_make_the_search_fail_or_hang():
    rng = np.random.default_rng(1)
    for kind in FORMATS:
        whole = encode(picture(), kind, exif_with(5))
        for end in range(min(len(whole), 300)):
            assert 1 <= orientation.find_orientation(whole[:end]) <= 8
        for _ in range(300):
            assert 1 <= orientation.find_orientation(damage(whole, rng)) <= 8
    for start in (b'', b'GIF89a', b'BM', b'\xff\xd8' + b'\xff' * 50, b'RIFF' + bytes(60)):
        assert orientation.find_orientation(start) == 1


def test_both_byte_orders_and_an_exif_after_other_segments_are_understood():
    plain = encode(picture(), 'JPEG')
    for order, mark in {'<': b'II', '>': b'MM'}.items():
        directory = struct.pack(f'{order}HHHIHH', 1, ORIENTATION, 3, 1, 7, 0)
        exif = b'Exif\0\0' + mark + struct.pack(f'{order}HI', 42, 8) + directory + bytes(4)
        other = b'\xff\xe1' + struct.pack('>H', 10) + b'http://\0'
        segment = b'\xff\xe1' + struct.pack('>H', len(exif) + 2) + exif
        encoded = plain[:2] + other + b'\xff' + segment + plain[2:]
        assert orientation.find_orientation(encoded) == 7


def test_imagenet_is_read_as_stored_and_folders_upright():
    assert not schema.get_config().data.exif_orientation
    on = {p.stem for p in configs.CONFIGS if configs.load(p.stem).data.exif_orientation}
    assert on == {'folder'}
