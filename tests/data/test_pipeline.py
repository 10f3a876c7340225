"""Batches: dtypes and shapes, order as a function of the step, padding and prefetching."""

import itertools
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_jax.config import data_sets, schema
from resnet_jax.config.ranges import RANGES
from resnet_jax.data import padding, pipeline, prefetching
from resnet_jax.data.epochs import compute_steps_per_epoch
from resnet_jax.data.sources import registry
from resnet_jax.errors import InputError

SIZE, VALIDATION_SIZE = 1437, 360


def digits_config(batch_size=400, num_epochs=3, **data):
    config = data_sets.use_data(schema.get_config(), 'digits')
    config.batch_size, config.num_epochs = batch_size, num_epochs
    config.data.update(data)
    return config


def train(config, start_step=0):
    source = registry.load_source(config, 'train')
    return list(pipeline.train_batches(source, config, start_step=start_step))


def assert_equal(batches, expected_batches):
    assert len(batches) == len(expected_batches)
    for batch, expected in zip(batches, expected_batches, strict=True):
        assert batch.keys() == expected.keys()
        assert all(np.array_equal(batch[key], expected[key]) for key in batch)


@pytest.fixture(scope='module')
def batches():
    """Three epochs of three steps."""
    return train(digits_config())


def test_a_training_batch_is_whole_and_typed(batches):
    assert len(batches) == 9
    for batch in batches:
        assert {key: (array.dtype, array.shape) for key, array in batch.items()} == {
            'image': (np.uint8, (400, 8, 8, 3)),
            'label': (np.int32, (400,)),
            'mask': (np.bool_, (400,)),
            'id': (np.int64, (400,)),
        }
        assert batch['mask'].all()


@pytest.mark.parametrize(
    ('examples', 'batch_size', 'steps'),
    [(1437, 128, 11), (1_281_167, 256, 5004), (50_000, 128, 390), (128, 128, 1), (255, 128, 1)],
)
def test_an_epoch_has_whole_batches_only(examples, batch_size, steps):
    assert compute_steps_per_epoch(examples, batch_size) == steps


@pytest.mark.parametrize('examples', [0, 1, 127])
def test_fewer_examples_than_a_batch_are_refused(examples):
    with pytest.raises(InputError, match=rf'config\.batch_size = 128: .*{examples} examples'):
        compute_steps_per_epoch(examples, 128)


def test_a_batch_larger_than_the_split_is_refused():
    with pytest.raises(InputError, match='batch_size = 1438: .* 1437 examples'):
        train(digits_config(batch_size=1438))


@pytest.mark.parametrize('start_step', range(10))
def test_resuming_anywhere_gives_the_tail_bit_for_bit(batches, start_step):
    assert_equal(train(digits_config(), start_step), batches[start_step:])


@pytest.mark.parametrize('threads', [1, 2, 5])
def test_threads_do_not_change_the_batches(batches, threads):
    assert_equal(train(digits_config(num_threads=threads, prefetch_batches=threads)), batches)


def test_more_epochs_only_append(batches):
    assert_equal(train(digits_config(num_epochs=4))[:9], batches)


def epoch_ids(batches, epoch):
    return np.concatenate([batch['id'] for batch in batches[3 * epoch : 3 * epoch + 3]])


def test_an_epoch_drops_other_examples_than_the_next(batches):
    epochs = [epoch_ids(batches, epoch) for epoch in range(3)]
    dropped = [frozenset(range(SIZE)) - set(ids.tolist()) for ids in epochs]
    assert [len(rest) for rest in dropped] == [237] * 3
    assert len(set(dropped)) == 3
    assert not np.array_equal(epochs[0], epochs[1])


def test_the_seed_changes_the_order_and_the_augmentation(batches):
    config = digits_config(num_epochs=1)
    config.seed = 1
    reseeded_batches = train(config)
    assert not np.array_equal(epoch_ids(reseeded_batches, 0), epoch_ids(batches, 0))
    reseeded, images = images_by_id(reseeded_batches), images_by_id(batches[:3])
    shared = reseeded.keys() & images.keys()
    assert sum(reseeded[i] != images[i] for i in shared) > len(shared) / 2


def images_by_id(batches):
    rows = itertools.chain.from_iterable(zip(b['id'], b['image'], strict=True) for b in batches)
    return {int(i): image.tobytes() for i, image in rows}


def test_augmentation_depends_on_epoch_and_id_but_not_on_the_batch(batches):
    first, second = images_by_id(batches[:3]), images_by_id(batches[3:6])
    small = images_by_id(train(digits_config(batch_size=130, num_epochs=1)))
    shared = first.keys() & small.keys()
    assert len(shared) > 1100
    assert all(first[i] == small[i] for i in shared)
    both = first.keys() & second.keys()
    assert sum(first[i] != second[i] for i in both) > len(both) / 2


def test_a_batch_holds_the_examples_that_its_ids_name(batches):
    source = registry.load_source(digits_config(), 'train')
    config = digits_config(num_epochs=1, augmentation='none')
    stored = next(iter(pipeline.evaluation_batches(source, config, batch_size=SIZE)))
    for plain, augmented in zip(train(config), batches[:3], strict=True):
        assert np.array_equal(plain['id'], augmented['id'])
        assert np.array_equal(plain['label'], stored['label'][plain['id']])
        assert np.array_equal(plain['image'], stored['image'][plain['id']])


def test_the_examples_of_an_epoch_are_shifted_each_in_its_own_way(batches):
    plain = np.concatenate([b['image'] for b in train(digits_config(1200, 1, augmentation='none'))])
    shifted = np.concatenate([batch['image'] for batch in batches[:3]])
    padded = np.pad(plain, ((0, 0), (1, 1), (1, 1), (0, 0)))
    cuts = [padded[:, i : i + 8, j : j + 8] for i in range(3) for j in range(3)]
    matches = np.stack([(cut == shifted).all(axis=(1, 2, 3)) for cut in cuts])
    assert matches.any(axis=0).all()
    assert (abs(matches.mean(axis=1) - 1 / 9) < 0.05).all()


@pytest.mark.parametrize('batch_size', [7, 100, 360, 500])
def test_evaluation_yields_each_example_once_and_masks_the_padding(batch_size):
    config = digits_config()
    source = registry.load_source(config, 'validation')
    batches = list(pipeline.evaluation_batches(source, config, batch_size=batch_size))
    assert len(batches) == -(-VALIDATION_SIZE // batch_size)
    for batch in batches:
        assert {key: (array.dtype, array.shape) for key, array in batch.items()} == {
            'image': (np.uint8, (batch_size, 8, 8, 3)),
            'label': (np.int32, (batch_size,)),
            'mask': (np.bool_, (batch_size,)),
            'id': (np.int64, (batch_size,)),
        }
    joined = {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}
    assert list(joined['id'][:VALIDATION_SIZE]) == list(range(VALIDATION_SIZE))
    assert joined['mask'][:VALIDATION_SIZE].all()
    for key, fill in {'id': -1, 'mask': False, 'image': 0, 'label': 0}.items():
        assert (joined[key][VALIDATION_SIZE:] == fill).all()
    stored = [source.load_image(element) for element in source.elements(None, np.int64(0))]
    assert np.array_equal(joined['image'][:VALIDATION_SIZE], stored)


def test_a_whole_batch_is_not_padded(batches):
    assert padding.pad_batch(batches[0], 400) is batches[0]


def test_an_image_that_cannot_be_decoded_is_an_input_error(tmp_path):
    folder = tmp_path / 'train' / 'x'
    folder.mkdir(parents=True)
    (folder / 'a.jpg').write_text('no image')
    config = digits_config(batch_size=1, source='folder', dir=str(tmp_path))
    source = registry.load_source(config, 'train')
    with pytest.raises(InputError, match='cannot be decoded'):
        next(pipeline.train_batches(source, config, start_step=0))
    with pytest.raises(InputError, match='cannot be decoded'):
        next(pipeline.evaluation_batches(source, config, batch_size=1))


@given(count=st.integers(0, 6), ahead=st.integers(0, 8))
@settings(deadline=None)
def test_prefetch_puts_ahead_and_keeps_the_order(count, ahead):
    put = []
    yielded = []
    for item in prefetching.prefetch(range(count), lambda i: put.append(i) or -i, ahead=ahead):
        yielded.append(item)
        assert put == list(range(min(len(yielded) + ahead, count)))
    assert yielded == [-i for i in range(count)]


def test_the_first_item_is_made_before_it_is_asked_for_and_the_others_are_not():
    made, first = [], threading.Event()

    def make():
        for item in range(3):
            made.append(item)
            first.set()
            yield item

    items = prefetching.start_first(make())
    assert first.wait(timeout=60)
    assert next(items) == 0
    assert made == [0]
    assert list(items) == [1, 2]
    assert list(prefetching.start_first(iter(()))) == []


def test_an_error_in_the_first_item_comes_when_it_is_asked_for():
    def make():
        raise InputError('no image')
        yield

    items = prefetching.start_first(make())
    with pytest.raises(InputError, match='no image'):
        next(items)


def test_prefetch_puts_one_item_ahead_by_default():
    put = []
    items = prefetching.prefetch(itertools.count(), lambda i: put.append(i) or i)
    assert (next(items), put) == (0, [0, 1])
    assert (next(items), put) == (1, [0, 1, 2])


def test_the_largest_seed_has_batches_of_its_own():
    largest = RANGES['seed'][1]
    images = []
    for seed in (0, largest - 1, largest):
        config = digits_config(batch_size=16)
        config.seed = seed
        source = registry.load_source(config, 'train')
        first, second = itertools.islice(pipeline.train_batches(source, config, start_step=0), 2)
        assert_equal([next(pipeline.train_batches(source, config, start_step=1))], [second])
        images.append(first['image'])
    assert len({image.tobytes() for image in images}) == 3
