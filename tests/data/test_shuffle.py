"""Shuffled order of TFRecord files, which can only be read from the beginning.

Files are permuted and cut into groups, whose records are shuffled. So records that are neighbours
in a file end up as far apart as two random positions in a group: a third of its size on average.
"""

import numpy as np
import pytest
import tensorflow as tf
from support.preparing import prepare_set

from resnet_jax.config import data_sets, schema
from resnet_jax.data import pipeline
from resnet_jax.data.preparation import prepare
from resnet_jax.data.sources import registry

NUM_EXAMPLES, PER_FILE = 1437, 30
FILES = 48  # the last one holds 27


@pytest.fixture(scope='module')
def digits(tmp_path_factory):
    """The digits in 48 files."""
    config = data_sets.use_data(schema.get_config(), 'digits')
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(prepare, 'FILE_BYTES', PER_FILE * 256)
        return prepare_set(config, tmp_path_factory.mktemp('digits') / 'set', 'raw', 8)


def order_of(digits, group_files, epoch, seed=0):
    config = digits.copy_and_resolve_references()
    config.data.shuffle_group_files = group_files
    source = registry.load_source(config, 'train')
    elements = source.elements(tf.constant([seed, epoch], tf.int64), tf.constant(0, tf.int64))
    [order] = elements.map(lambda element: element['id']).batch(2000).as_numpy_iterator()
    return order


def distances(order, stored):
    """Returns the distances in the epoch's order between records that are stored as neighbours.

    Args:
      order: ids in the epoch's order, int64 `[N]`.
      stored: 'in a file' for neighbours in the same file, 'across files' for the last record of a
        file and the first of the next.
    """
    place = np.argsort(order)
    first = np.arange(NUM_EXAMPLES - 1)
    across = (first + 1) % PER_FILE == 0
    return abs(np.diff(place))[across if stored == 'across files' else ~across]


@pytest.mark.parametrize('group_files', [1, 5, 100])
def test_an_epoch_is_a_permutation(digits, group_files):
    assert registry.load_source(digits, 'train').num_examples == NUM_EXAMPLES
    for epoch in range(2):
        order = order_of(digits, group_files, epoch)
        assert np.array_equal(np.sort(order), np.arange(NUM_EXAMPLES))


@pytest.mark.parametrize('group_files', [16])
def test_a_group_holds_the_records_of_random_whole_files(digits, group_files):
    groups = set()
    for epoch in range(4):
        files = order_of(digits, group_files, epoch) // PER_FILE
        begin = 0
        for _ in range(FILES // group_files):
            members = np.unique(files[begin : begin + PER_FILE * group_files - 3])
            assert len(members) == group_files
            end = begin + sum(27 if file == FILES - 1 else 30 for file in members)
            assert np.array_equal(np.unique(files[begin:end]), members)
            groups.add(tuple(members))
            begin = end
        assert begin == NUM_EXAMPLES
    assert len(groups) == 4 * FILES // group_files  # no two groups of the epochs are alike


@pytest.mark.parametrize(('group_files', 'group'), [(4, 120), (16, 480), (48, 1437)])
def test_neighbours_in_a_file_end_up_a_third_of_a_group_apart(digits, group_files, group):
    for epoch in range(3):
        order = order_of(digits, group_files, epoch)
        inside = distances(order, 'in a file')
        assert inside.mean() == pytest.approx(group / 3, rel=0.1)
        assert (inside == 1).mean() < 6 / group  # by chance: 2 / group
        across = distances(order, 'across files')
        assert across.mean() == pytest.approx(NUM_EXAMPLES / 3, rel=0.35)  # of 47 pairs


def test_the_order_is_independent_of_other_epochs_and_runs(digits):
    first = np.argsort(order_of(digits, 16, 0))
    for epoch, seed in [(1, 0), (2, 0), (0, 1)]:
        other = np.argsort(order_of(digits, 16, epoch, seed))
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.35  # of three groups
        within = [np.corrcoef(first[at], other[at])[0, 1] for at in by_file()]
        assert abs(np.mean(within)) < 0.1


def by_file():
    return np.split(np.arange(NUM_EXAMPLES), range(PER_FILE, NUM_EXAMPLES, PER_FILE))


def test_classes_are_mixed_within_a_batch(digits):
    config = digits.copy_and_resolve_references()
    config.batch_size, config.num_epochs, config.data.shuffle_group_files = 100, 1, 2
    source = registry.load_source(config, 'train')
    for batch in pipeline.train_batches(source, config, start_step=0):
        assert len(np.unique(batch['label'])) >= 9


@pytest.mark.parametrize('group_files', [3])
def test_batches_continue_anywhere_in_any_group(digits, group_files):
    config = digits.copy_and_resolve_references()
    config.batch_size, config.num_epochs = 200, 2
    config.data.shuffle_group_files = group_files
    source = registry.load_source(config, 'train')
    whole = [batch['id'] for batch in pipeline.train_batches(source, config, start_step=0)]
    assert len(whole) == 14
    for start in (6, 9):
        batches = pipeline.train_batches(source, config, start_step=start)
        tail = [batch['id'] for batch in batches]
        assert np.array_equal(tail, whole[start:])
