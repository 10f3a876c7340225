"""`prepare` on each kind of source, and on images that cannot be decoded."""

import csv
import io
import json

import numpy as np
import PIL.Image
import pytest
from support.preparing import (
    CLASS_NAMES,
    CLASSES,
    folder_config,
    folder_of,
    prepare_set,
    read_examples,
    write_photographs,
)

from resnet_jax.config import data_sets, schema
from resnet_jax.data.preparation import prepare
from resnet_jax.data.sources import registry

SIZE = 32


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
    """The config of the photographs, prepared as pixels in one file for each split."""
    photographs = write_photographs(tmp_path_factory.mktemp('photographs'))
    return prepare_set(
        folder_config(photographs), tmp_path_factory.mktemp('set') / 'raw', 'raw', SIZE
    )


@pytest.fixture(scope='module')
def tfds_folder(tmp_path_factory):
    """A data set as TFDS's own code writes it: 20 PNGs for training, 7 for tests, in 3 files."""
    import tensorflow_datasets as tfds

    folder = tmp_path_factory.mktemp('tfds')
    levels = np.random.default_rng(0).integers(0, 256, (27, 4, 4, 3), np.uint8)
    features = {
        'image': tfds.features.Image(encoding_format='png'),
        'label': tfds.features.ClassLabel(names=CLASSES),
    }

    def example(i):
        image, encoded = PIL.Image.fromarray(levels[i]).resize((40 + i, 44)), io.BytesIO()
        image.save(encoded, 'PNG')
        encoded.seek(0)
        return str(i), {'image': encoded, 'label': i % 3}

    tfds.dataset_builders.store_as_tfds_dataset(
        name='squares',
        version='2.3.4',
        features=tfds.features.FeaturesDict(features),
        split_datasets={
            'train': [example(i) for i in range(20)],
            'test': [example(i) for i in range(20, 27)],
        },
        data_dir=folder,
        download_config=tfds.download.DownloadConfig(num_shards=3),
    )
    return folder


@pytest.mark.parametrize(
    'splits',
    [('train', 'test'), ('train[:60%]', 'test'), ('train[5:]+test', 'train[:5]')],
)
def test_a_tfds_set_keeps_its_order_and_slices_prepare_whole_splits(tfds_folder, tmp_path, splits):
    names = dict(zip(('train_split', 'validation_split'), splits, strict=True))
    config = folder_config(tfds_folder, source='tfds', name='squares', **names)
    prepared = prepare_set(config, tmp_path / 'new', 'raw', 16)
    for split, count in {'train': 20, 'test': 7}.items():
        assert registry.load_source(prepared, split).class_names == CLASS_NAMES
        before, after = read_examples(config, split), read_examples(prepared, split)
        assert len(after) == count
        assert [e['label'] for e in after] == [e['label'] for e in before]
        for old, new in zip(before, after, strict=True):
            height, width = (
                side * 16 // min(old['image'].shape[:2]) for side in old['image'].shape[:2]
            )
            expected = PIL.Image.fromarray(old['image']).resize((width, height), 2)
            assert abs(new['image'].astype(int) - np.asarray(expected)).mean() < 1
    sliced = registry.load_source(prepared, splits[0])
    assert sliced.num_examples == registry.load_source(config, splits[0]).num_examples


def test_a_prepared_set_can_be_prepared_again(prepared, tmp_path):
    twice = prepare_set(prepared, tmp_path / 'new', 'raw', SIZE, 'keep')
    for expected, example in zip(read_examples(prepared), read_examples(twice), strict=True):
        assert example['label'] == expected['label']
        assert np.array_equal(example['image'], expected['image'])


@pytest.mark.parametrize('kind', ['raw', 'jpeg'])
def test_digits_are_prepared_too(tmp_path, kind):
    config = data_sets.use_data(schema.get_config(), 'digits')
    prepared = prepare_set(config, tmp_path / 'new', kind, 8, 'keep', 100)
    for split, count in {'train': 1437, 'validation': 360}.items():
        source = registry.load_source(prepared, split)
        assert (source.num_examples, len(source.class_names)) == (count, 10)
        before, after = (
            sorted(
                (e['label'], e['image'].astype(int).sum(), e['image'].tobytes()) for e in examples
            )
            for examples in (read_examples(config, split), read_examples(prepared, split))
        )
        assert [label for label, *_ in before] == [label for label, *_ in after]
        if kind == 'raw':
            assert before == after


def spoil(root):
    """Makes three images bad, in both splits; returns their rows of `bad_images.csv`."""
    [cut], [empty], [other] = (
        list(root.glob(pattern))
        for pattern in ('train/*/00.*', 'train/*/04.*', 'validation/*/02.*')
    )
    cut.write_bytes(cut.read_bytes()[:5000])
    empty.write_bytes(b'')
    other.write_bytes(b'no image')
    return {
        ('train', str(cut), 'it is truncated or damaged'),
        ('train', str(empty), 'it is empty'),
        ('validation', str(other), 'it is not a JPEG, PNG, GIF, BMP or WebP image'),
    }


@pytest.mark.parametrize(('kind', 'file_bytes'), [('raw', 1), ('jpeg', 2**27)])
def test_bad_images_that_are_skipped_are_left_out_and_listed(
    prepared, tmp_path, monkeypatch, kind, file_bytes
):
    monkeypatch.setattr(prepare, 'FILE_BYTES', file_bytes)
    rows = spoil(write_photographs(tmp_path / 'data'))
    config = folder_config(tmp_path / 'data', on_error='skip')
    config = prepare_set(config, tmp_path / 'new', kind, SIZE)
    with (tmp_path / 'new' / 'bad_images.csv').open(newline='') as file:
        header, *listed = csv.reader(file)
    assert header == ['split', 'image', 'fault']
    assert len(listed) == 3
    assert {tuple(row) for row in listed} == rows
    for split, good, bad in (('train', 13, 2), ('validation', 5, 1)):
        source = registry.load_source(config, split)
        assert source.num_examples == good
        numbers = json.loads((folder_of(config) / 'metadata.json').read_text())
        assert numbers['num_examples'][split] == good
        assert numbers['num_bad_images'][split] == bad
        examples = read_examples(config, split)
        assert [e['id'] for e in examples] == list(range(good))
        if kind == 'raw':
            whole = [e['image'].tobytes() for e in read_examples(prepared, split)]
            places = [whole.index(e['image'].tobytes()) for e in examples]
            assert places == sorted(places)
