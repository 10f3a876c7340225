"""`prepare`: its images, labels, class names, files, metadata and progress display."""

import hashlib
import io
import logging
import re

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from support.preparing import (
    CLASS_NAMES,
    CLASSES,
    folder_config,
    folder_of,
    prepare_set,
    read_examples,
    write_photographs,
)
from support.running import CLEAR, FakeTerminal

from resnet_jax.console import progress
from resnet_jax.data.preparation import prepare
from resnet_jax.data.sources import registry

SIZE = 32
RESIZE_LOSS = 2
"""Largest mean absolute difference in levels from Pillow's decoded and resized image."""


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
    return write_photographs(tmp_path_factory.mktemp('photographs'))


@pytest.fixture(scope='module')
def prepared(photographs, tmp_path_factory):
    """Prepares once for each encoding, and returns the config that reads it."""
    known = {}

    def prepare_once(*encoding, **data):
        data = {'validation_interpolation': 'bilinear'} | data
        key = (*encoding, *data.items())
        if key not in known:
            output = tmp_path_factory.mktemp('prepared') / 'output'
            known[key] = prepare_set(folder_config(photographs, **data), output, *encoding)
        return known[key]

    return prepare_once


def jpeg_loss(image):
    """Returns the mean absolute difference that Pillow's JPEG of quality 90 makes."""
    encoded = io.BytesIO()
    PIL.Image.fromarray(image.astype(np.uint8)).save(encoded, 'JPEG', quality=90)
    return abs(np.asarray(PIL.Image.open(encoded)) - image.astype(float)).mean()


def resize(path, shape, method):
    """Returns an image as Pillow resizes it, and its label."""
    image = PIL.Image.open(path).convert('RGB')
    short, wanted = min(image.size), [*image.size]
    if short > SIZE or shape == 'square':
        wanted = [side * SIZE // short for side in image.size]
    image = image.resize(wanted, PIL.Image.Resampling[method.upper()])
    if shape == 'square':
        left, top = ((side - SIZE) // 2 for side in wanted)
        image = image.crop((left, top, left + SIZE, top + SIZE))
    return np.asarray(image).astype(float), CLASSES.index(path.parent.name)


@pytest.mark.parametrize(
    ('kind', 'shape', 'method'),
    [
        ('raw', 'keep', 'bilinear'),
        ('raw', 'square', 'bicubic'),
        ('jpeg', 'keep', 'bicubic'),
        ('jpeg', 'square', 'bilinear'),
    ],
)
def test_each_image_is_stored_once_as_pillow_resizes_it(prepared, photographs, kind, shape, method):
    config = prepared(kind, SIZE, shape, validation_interpolation=method)
    for split, count in {'train': 15, 'validation': 6}.items():
        assert registry.load_source(config, split).class_names == CLASS_NAMES
        expected = [resize(path, shape, method) for path in photographs.glob(f'{split}/*/*')]
        examples = read_examples(config, split)
        assert len(examples) == len(expected) == count
        for example in examples:
            assert example['image'].dtype == np.uint8
            alike = [
                (abs(image - example['image']).mean(), i)
                for i, (image, label) in enumerate(expected)
                if (image.shape, label) == (example['image'].shape, example['label'])
            ]
            difference, nearest = min(alike, default=(np.inf, -1))
            image, label = expected.pop(nearest)
            loss = jpeg_loss(image) if kind == 'jpeg' else 0
            assert difference < RESIZE_LOSS + loss, (image.shape, label)
        assert not expected


def test_kept_images_are_never_enlarged_and_small_ones_not_changed(prepared, photographs):
    small = {
        np.asarray(PIL.Image.open(path)).tobytes()
        for path in photographs.glob('train/*/*.png')
        if min(PIL.Image.open(path).size) <= SIZE
    }
    images = [example['image'] for example in read_examples(prepared('raw', SIZE, 'keep'))]
    assert len(small) >= 2
    assert small <= {image.tobytes() for image in images}
    assert {min(image.shape[:2]) for image in images} == {20, SIZE}


def test_squares_are_all_of_the_size(prepared):
    for kind in ('raw', 'jpeg'):
        shapes = {e['image'].shape for e in read_examples(prepared(kind, SIZE, 'square'))}
        assert shapes == {(SIZE, SIZE, 3)}


def test_raw_and_jpeg_sets_hold_the_same_images_in_the_same_order(prepared):
    raw, jpeg = (read_examples(prepared(kind, SIZE, 'keep')) for kind in ('raw', 'jpeg'))
    for exact, lossy in zip(raw, jpeg, strict=True):
        assert (exact['id'], exact['label']) == (lossy['id'], lossy['label'])
        difference = abs(exact['image'].astype(int) - lossy['image']).mean()
        assert difference < 0.5 + jpeg_loss(exact['image'])


def test_a_folders_images_are_stored_in_another_order_than_by_class(prepared):
    labels = [example['label'] for example in read_examples(prepared('raw', SIZE, 'keep'))]
    assert sorted(labels) != labels


def records_of(folder, split):
    for path in sorted(folder.glob(f'photographs-{split}.tfrecord-*')):
        yield path, list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())


@pytest.mark.parametrize('file_bytes', [2**27, 20_000])
def test_tfds_reads_counts_settings_and_a_checksum_of_all_records(
    photographs, tmp_path, monkeypatch, file_bytes
):
    import tensorflow_datasets as tfds

    monkeypatch.setattr(prepare, 'FILE_BYTES', file_bytes)
    config = prepare_set(folder_config(photographs), tmp_path / 'new', 'raw', SIZE, 'keep', 70)
    info = tfds.builder('photographs', data_dir=tmp_path / 'new').info
    records = {s: list(records_of(folder_of(config), s)) for s in ('train', 'validation')}
    per_file = [len(of_file) for files in records.values() for _, of_file in files]
    assert per_file == ([15, 6] if file_bytes > 20_000 else [4, 4, 4, 3, 4, 2])
    checksums = ''
    for files in records.values():
        for _, of_file in files:
            checksums += hashlib.sha256(b''.join(of_file)).hexdigest() + '\n'
    assert dict(info.metadata) == {
        'made_from': 'folder photographs',
        'num_positions': {'train': 15, 'validation': 6},
        'num_examples': {'train': 15, 'validation': 6},
        'num_bad_images': {'train': 0, 'validation': 0},
        'interpolation': 'bilinear',
        'exif_orientation': False,
        'kind': 'raw',
        'size': SIZE,
        'shape': 'keep',
        'quality': 70,
        'sha256': hashlib.sha256(checksums.encode()).hexdigest(),
    }
    for split, files in records.items():
        assert info.splits[split].num_examples == sum(len(of_file) for _, of_file in files)
        assert info.splits[split].num_bytes == sum(path.stat().st_size for path, _ in files)
    [*loaded] = tfds.load('photographs', split='train', data_dir=tmp_path / 'new')
    assert len(loaded) == 15
    assert info.supervised_keys == ('image', 'label')
    assert not list((tmp_path / 'new').rglob('.*'))
    assert [path.name for path in (tmp_path / 'new').iterdir()] == ['photographs']


def test_the_number_of_files_changes_no_example(prepared, photographs, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, 'FILE_BYTES', 1)
    config = prepare_set(folder_config(photographs), tmp_path / 'new', 'raw', SIZE, 'keep')
    names = sorted(path.name for path in folder_of(config).glob('*train*'))
    assert names == [f'photographs-train.tfrecord-{i:05}-of-00015' for i in range(15)]
    whole = read_examples(prepared('raw', SIZE, 'keep'))
    for example, expected in zip(read_examples(config), whole, strict=True):
        assert example.keys() == expected.keys()
        assert all(np.array_equal(example[key], expected[key]) for key in example)


@pytest.mark.parametrize('threads', [7])
def test_threads_change_no_byte(prepared, photographs, tmp_path, threads):
    for kind in ('raw', 'jpeg'):
        data = folder_config(photographs, num_threads=threads)
        config = prepare_set(data, tmp_path / kind, kind, SIZE, 'keep')
        expected = folder_of(prepared(kind, SIZE, 'keep'))
        for path in expected.iterdir():
            assert (folder_of(config) / path.name).read_bytes() == path.read_bytes()


def test_quality_is_that_of_the_jpegs(photographs, tmp_path):
    def tables(quality):
        config = folder_config(photographs)
        prepared = prepare_set(config, tmp_path / str(quality), 'jpeg', SIZE, 'square', quality)
        source = registry.load_source(prepared, 'train')
        for element in source.elements(None, tf.constant(0, tf.int64)):
            image = PIL.Image.open(io.BytesIO(source.load_image(element).numpy()))
            yield image.quantization[0]

    for quality in (35, 90):
        reference = io.BytesIO()
        PIL.Image.new('RGB', (8, 8)).save(reference, 'JPEG', quality=quality)
        expected = PIL.Image.open(reference).quantization[0]
        assert all(table == expected for table in tables(quality))


def test_progress_is_a_line_on_a_terminal_and_lines_of_the_log_elsewhere(
    photographs, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(progress, 'SECONDS_BETWEEN_LINES', {True: 0, False: 0})
    pattern = r'\d+% \[=* *\] +\d+ of 21 images +\d+ images/s +[\d.]+ (Ki)?B +\d.* left'
    screen = FakeTerminal()
    monkeypatch.setenv('COLUMNS', '200')
    with caplog.at_level(logging.INFO, logger='absl'):
        prepare_set(folder_config(photographs), tmp_path / 'one', 'raw', 8, stream=screen)
        assert len([text for text in caplog.messages if 'images/s' in text]) == 0
        prepare_set(folder_config(photographs), tmp_path / 'two', 'raw', 8)
    shown = screen.getvalue().split(CLEAR)
    assert len([line for line in shown if re.search(pattern, line)]) == 21
    assert shown[-1] == ''
    assert len([text for text in caplog.messages if re.search(pattern, text)]) == 21
    assert f'{tmp_path}/two: 21 images' in caplog.messages[-1]
    flags = '--config.data.source=tfds --config.data.name=photographs'
    assert f'{flags} --config.data.dir={tmp_path}/two' in caplog.messages[-1]
