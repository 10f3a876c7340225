"""Confusion counts: numbers, files, and files that are refused."""

import io
import zipfile

import numpy as np
import pytest

from resnet_jax.errors import InputError
from resnet_jax.evaluation.confusion import count_confusion
from resnet_jax.evaluation.confusion_files import SavedConfusion, load_confusion, save_confusion


def draw_counts(num_examples=500, num_classes=20, k=5, seed=0):
    """Returns random labels, k different predictions of each, and their counts."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(num_classes, size=num_examples)
    top_classes = np.argsort(rng.random((num_examples, num_classes)), axis=1)[:, :k]
    counts = count_confusion(
        labels, top_classes, num_examples=num_examples, num_classes=num_classes
    )
    return labels, top_classes, counts


def test_every_predicted_class_is_counted_at_its_rank():
    counts = count_confusion(
        np.array([0, 0, 2], np.int32),
        np.array([[0, 1], [1, 2], [0, 2]], np.int32),
        num_examples=3,
        num_classes=4,
    )
    assert counts.true.tolist() == [0, 0, 0, 0, 2, 2]
    assert counts.predicted.tolist() == [0, 1, 1, 2, 0, 2]
    assert counts.rank.tolist() == [0, 0, 1, 1, 0, 1]
    assert counts.count.tolist() == [1] * 6
    assert counts.matrix().dtype == np.int64
    assert counts.matrix().tolist() == [[1, 2, 1, 0], [0] * 4, [1, 0, 1, 0], [0] * 4]
    assert counts.matrix(1).tolist() == [[1, 1, 0, 0], [0] * 4, [1, 0, 0, 0], [0] * 4]


@pytest.mark.parametrize(('classes', 'k'), [(3, 3), (5, 5), (10, 5), (1000, 5)])
def test_both_accuracies_come_from_the_counts(classes, k):
    labels, top_classes, counts = draw_counts(500, classes, k)
    hits = top_classes == labels[:, None]
    assert np.trace(counts.matrix()) == hits.sum()
    assert np.trace(counts.matrix(1)) == hits[:, 0].sum()
    assert counts.accuracy(5) == hits.sum() / 500
    assert counts.accuracy(1) == hits[:, 0].sum() / 500
    per_class = k * np.bincount(labels, minlength=classes)
    np.testing.assert_array_equal(counts.matrix().sum(axis=1), per_class)


def test_examples_that_could_not_be_decoded_are_wrong():
    counts = count_confusion(np.array([1]), np.array([[1, 0]]), num_examples=4, num_classes=2)
    assert counts.accuracy(1) == counts.accuracy(5) == 0.25


def test_nothing_decoded_is_an_accuracy_of_0():
    empty = count_confusion(
        np.zeros(0, np.int32), np.zeros((0, 5), np.int32), num_examples=3, num_classes=9
    )
    assert empty.accuracy(5) == 0
    assert not empty.matrix().any()


def test_more_classes_than_uint16_holds_are_refused():
    with pytest.raises(InputError, match='at most 65,536 classes, found 65,537'):
        count_confusion(np.zeros(1), np.zeros((1, 5)), num_examples=1, num_classes=2**16 + 1)


@pytest.fixture
def file(tmp_path):
    """Returns a file with the counts of 500 examples."""
    save_confusion(tmp_path / '40.npz', SavedConfusion(40, 2.5, draw_counts()[2]))
    return tmp_path / '40.npz'


def test_what_is_saved_is_what_is_loaded(file):
    loaded, expected = load_confusion(file), draw_counts()[2]
    assert (loaded.step, loaded.epoch) == (40, 2.5)
    assert (loaded.counts.num_examples, loaded.counts.num_classes) == (500, 20)
    for name in ('true', 'predicted', 'rank', 'count'):
        np.testing.assert_array_equal(getattr(loaded.counts, name), getattr(expected, name))


def test_the_file_has_the_documented_arrays_and_dtypes(file):
    with np.load(file, allow_pickle=False) as arrays:
        types = {name: (array.dtype.name, array.ndim) for name, array in arrays.items()}
    assert types == {
        'true': ('uint16', 1),
        'predicted': ('uint16', 1),
        'rank': ('uint8', 1),
        'count': ('uint32', 1),
        'num_examples': ('int64', 0),
        'num_classes': ('int64', 0),
        'step': ('int64', 0),
        'epoch': ('float64', 0),
    }


def test_the_same_counts_are_the_same_bytes(file):
    before = file.read_bytes()
    save_confusion(file, load_confusion(file))
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ['40.npz']


def test_the_least_compressible_evaluation_of_imagenet_is_below_2_mb(tmp_path):
    rng = np.random.default_rng(0)
    top_classes = rng.integers(1000, size=(50_000, 5))  # random; no network is that varied
    counts = count_confusion(
        np.repeat(np.arange(1000), 50), top_classes, num_examples=50_000, num_classes=1000
    )
    assert counts.count.sum() == 250_000
    save_confusion(tmp_path / '1.npz', SavedConfusion(1, 1, counts))
    assert 200_000 < (tmp_path / '1.npz').stat().st_size < 2_000_000


@pytest.mark.parametrize(('classes', 'each'), [(2, 1), (10, 36), (1000, 50), (2**16, 1)])
def test_the_most_compressible_evaluation_can_be_loaded(classes, each, tmp_path):
    labels = np.repeat(np.arange(classes), each)
    always_the_same = np.tile(np.arange(min(5, classes)), (len(labels), 1))
    counts = count_confusion(labels, always_the_same, num_examples=len(labels), num_classes=classes)
    save_confusion(tmp_path / '1.npz', SavedConfusion(1, 1, counts))
    assert load_confusion(tmp_path / '1.npz').counts.accuracy(5) == min(5, classes) / classes


def rewrite(file, **changes):
    """Writes the file again with other arrays; None leaves one out."""
    with np.load(file) as arrays:
        arrays = dict(arrays) | changes
    np.savez_compressed(file, **{key: value for key, value in arrays.items() if value is not None})


def short(file):
    file.write_bytes(file.read_bytes()[:-100])


def flipped(file):
    data = bytearray(file.read_bytes())
    data[data.index(b'true.npy') + 30] ^= 255
    file.write_bytes(bytes(data))


def bomb(file, body=bytes(20_000_000)):
    """Writes a file of 20 KB that holds 20 MB."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {'shape': (len(body) // 2,), 'fortran_order': False, 'descr': '<u2'}
    )
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('true.npy', header.getvalue() + body)


def false_length(file):
    """Writes an array with four values whose header claims 10^15."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {'shape': (10**15,), 'fortran_order': False, 'descr': '<u2'}
    )
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('true.npy', header.getvalue() + bytes(8))


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (lambda file: file.write_bytes(b''), 'not a zip file'),
        (lambda file: file.write_bytes(b'PK\5\6' + bytes(18)), 'no item named'),
        (lambda file: file.unlink(), 'No such file'),
        (lambda file: (file.unlink(), file.mkdir()), 'Is a directory'),
        (short, 'not a zip file'),
        (flipped, 'CRC|invalid|compress'),
        (bomb, 'more than the file can hold'),
        (false_length, "'true' as <u2"),
        (lambda file: rewrite(file, rank=None), "no item named 'rank.npy'"),
        (lambda file: rewrite(file, true=np.array([{}] * 9)), r"'true' as \|O"),
        (lambda file: rewrite(file, true=np.zeros(9)), "'true' as <f8"),
        (lambda file: rewrite(file, true=np.zeros(9, np.uint16)), 'arrays of different lengths'),
        (lambda file: rewrite(file, true=np.zeros((3, 3), np.uint16)), "'true' as <u2"),
        (lambda file: rewrite(file, num_classes=19), "19 in 'true'"),
        (lambda file: rewrite(file, num_classes=0), '0 classes'),
        (lambda file: rewrite(file, num_classes=2**40), 'classes'),
        (lambda file: rewrite(file, num_classes=np.array([20])), "'num_classes' as"),
        (lambda file: rewrite(file, num_examples=499), '500 predictions of 499 examples'),
        (lambda file: rewrite(file, num_examples=-1), '-1 examples'),
        (lambda file: rewrite(file, step=-1), 'step -1'),
        (lambda file: rewrite(file, step=1.5), "'step' as <f8"),
        (lambda file: rewrite(file, epoch=np.nan), 'epoch nan'),
        (lambda file: rewrite(file, epoch=np.inf), 'epoch inf'),
    ],
)
def test_a_file_without_confusion_counts_is_bad_input(damage, message, file):
    damage(file)
    with pytest.raises(InputError, match=message) as error:
        load_confusion(file)
    assert str(error.value).startswith(f'{file}: expected the confusion counts of an evaluation')


@pytest.mark.parametrize(
    ('name', 'value', 'message'),
    [
        ('rank', 5, "5 in 'rank'"),
        ('predicted', 20, "20 in 'predicted'"),
        ('count', 0, 'count of 0'),
    ],
)
def test_values_that_no_evaluation_has_are_bad_input(name, value, message, file):
    with np.load(file) as arrays:
        array = arrays[name].copy()
    array[7] = value
    rewrite(file, **{name: array})
    with pytest.raises(InputError, match=message):
        load_confusion(file)
