"""Batches from prepared data sets, JPEG and raw: order, crops, threads and processes."""

import shutil

import numpy as np
import PIL.Image
import pytest
from support.preparing import PHOTOS, folder_config, prepare_set

from resnet_jax.data import pipeline
from resnet_jax.data.preparation import prepare
from resnet_jax.data.sources import registry
from resnet_jax.devices import processes

NUM_EXAMPLES = 60
BAD = 17


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
    """60 JPEGs of 160 x 120 px in three classes, for training and validation."""
    root = tmp_path_factory.mktemp('photographs')
    photos = [PIL.Image.open(path) for path in PHOTOS]
    for split in ('train', 'validation'):
        for number in range(NUM_EXAMPLES):
            path = root / split / 'abc'[number % 3] / f'{number:02}.jpg'
            path.parent.mkdir(parents=True, exist_ok=True)
            left, top = 8 * number, 5 * number
            photo = photos[number % 2].crop((left, top, left + 160, top + 120))
            photo.save(path, quality=95)
    return root


@pytest.fixture(scope='module')
def prepared(photographs, tmp_path_factory):
    """The configs of the photographs at 64 px, prepared in eight files in each encoding."""
    folder, configs = tmp_path_factory.mktemp('prepared'), {}
    for kind, file_bytes in {'raw': 8 * 16384, 'jpeg': 8 * 1803}.items():
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(prepare, 'FILE_BYTES', file_bytes)
            configs[kind] = prepare_set(folder_config(photographs), folder / kind, kind, 64)
        assert len(list((folder / kind).rglob('*-train.tfrecord-*'))) == 8
    return configs


def with_data(config, **data):
    config = config.copy_and_resolve_references()
    config.batch_size, config.num_epochs = 20, 2
    config.data.update(
        {
            'augmentation': 'random_resized_crop',
            'image_size': 48,
            'resize_size': 56,
            'shuffle_group_files': 3,
        }
        | data
    )
    return config


def train_batches(config, *, start_step=0, process=processes.ALONE, **data):
    config = with_data(config, **data)
    source = registry.load_source(config, 'train')
    return list(pipeline.train_batches(source, config, start_step=start_step, process=process))


def evaluation_batches(config, *, process=processes.ALONE, **data):
    config = with_data(config, **data)
    source = registry.load_source(config, 'validation')
    return list(pipeline.evaluation_batches(source, config, batch_size=16, process=process))


def assert_equal(batches, expected_batches):
    assert len(batches) == len(expected_batches)
    for batch, expected in zip(batches, expected_batches, strict=True):
        assert batch.keys() == expected.keys()
        assert all(np.array_equal(batch[key], expected[key]) for key in batch)


@pytest.mark.parametrize('augmentation', ['random_resized_crop', 'crop_mirror'])
@pytest.mark.parametrize('seed', [0, 7])
def test_raw_and_jpeg_sets_train_in_the_same_order_on_the_same_windows(
    prepared, augmentation, seed
):
    batches_of_kinds = []
    for kind in ('raw', 'jpeg'):
        config = with_data(prepared[kind])
        config.seed = seed
        batches_of_kinds.append(train_batches(config, augmentation=augmentation))
    assert len(batches_of_kinds[0]) == 6
    for raw_batch, jpeg_batch in zip(*batches_of_kinds, strict=True):
        assert np.array_equal(raw_batch['id'], jpeg_batch['id'])
        assert np.array_equal(raw_batch['label'], jpeg_batch['label'])
    raw, jpeg = (
        np.concatenate([batch['image'] for batch in batches]).astype(int)
        for batches in batches_of_kinds
    )
    loss = abs(raw - jpeg).mean(axis=(1, 2, 3))
    mirrored = abs(raw[:, :, ::-1] - jpeg).mean(axis=(1, 2, 3))
    moved = abs(np.roll(raw, 1, axis=2) - jpeg).mean(axis=(1, 2, 3))
    assert loss.max() < 5
    assert (loss < mirrored).all()
    assert (loss < moved).mean() > 0.99


def test_raw_and_jpeg_sets_are_evaluated_alike(prepared):
    raw, jpeg = (evaluation_batches(prepared[kind]) for kind in ('raw', 'jpeg'))
    for raw_batch, jpeg_batch in zip(raw, jpeg, strict=True):
        assert np.array_equal(raw_batch['id'], jpeg_batch['id'])
        assert np.array_equal(raw_batch['label'], jpeg_batch['label'])
        difference = abs(raw_batch['image'].astype(int) - jpeg_batch['image'])
        assert difference.mean(axis=(1, 2, 3)).max() < 5


@pytest.fixture(scope='module')
def spoiled(photographs, tmp_path_factory):
    """The config of a folder of photographs, one of which cannot be decoded."""
    root = shutil.copytree(photographs, tmp_path_factory.mktemp('spoiled') / 'data')
    [bad] = root.glob(f'train/*/{BAD}.jpg')
    bad.write_bytes(bad.read_bytes()[:2000])
    return folder_config(root, on_error='skip')


@pytest.fixture(scope='module', params=['jpeg', 'raw', 'spoiled'])
def config(request, prepared, spoiled):
    return {**prepared, 'spoiled': spoiled}[request.param]


def test_the_number_of_threads_changes_no_batch(config):
    expected = train_batches(config, num_threads=1)
    bad = sum((~batch['mask']).sum() for batch in expected)
    assert bad == (2 if config.data.on_error == 'skip' else 0)
    for threads in (2, 8):
        assert_equal(train_batches(config, num_threads=threads), expected)
    assert_equal(train_batches(config, num_threads=8, start_step=2), expected[2:])
    expected = evaluation_batches(config, num_threads=1)
    assert_equal(evaluation_batches(config, num_threads=8), expected)


@pytest.mark.parametrize('count', [5])
def test_processes_share_the_batches_of_a_raw_set(prepared, count):
    whole = train_batches(prepared['raw'])
    shares = [
        train_batches(prepared['raw'], process=processes.Process(index, count))
        for index in range(count)
    ]
    joined = [
        {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}
        for batches in zip(*shares, strict=True)
    ]
    assert_equal(joined, whole)
    tail = train_batches(prepared['raw'], start_step=4, process=processes.Process(1, count))
    assert_equal(tail, shares[1][4:])


def test_processes_share_the_evaluation_of_a_raw_set(prepared):
    whole = evaluation_batches(prepared['raw'])
    shares = [
        evaluation_batches(prepared['raw'], process=processes.Process(index, 4))
        for index in range(4)
    ]
    assert [len(share) for share in shares] == [4] * 4
    for key in whole[0]:
        joined = [
            np.concatenate([batch[key] for batch in step]) for step in zip(*shares, strict=True)
        ]
        assert np.array_equal(np.concatenate(joined), np.concatenate([b[key] for b in whole]))
