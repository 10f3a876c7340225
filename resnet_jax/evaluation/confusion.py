"""Counts of which classes are predicted for which, by rank, and the files that keep them.

An evaluation of ImageNet's 50,000 validation images makes at most 250,000 counts, 350 KB on the
disk, from which every picture of the confusion is drawn without scoring anything again.
"""

import dataclasses
import io
import zipfile
import zlib
from pathlib import Path

import numpy as np

from resnet_jax import workdir
from resnet_jax.types import InputError

MAX_CLASSES = 2**16
"""Class indices are uint16."""

_ARRAYS = {'true': '<u2', 'predicted': '<u2', 'rank': '|u1', 'count': '<u4'}
_SCALARS = {'num_examples': '<i8', 'num_classes': '<i8', 'step': '<i8', 'epoch': '<f8'}

_MAX_RATIO = 100
"""A file's arrays may hold so many times its own bytes; those of real evaluations hold 3 to 40."""


@dataclasses.dataclass(frozen=True)
class ConfusionCounts:
    """How often each class was predicted for each, at each rank: the cells that are not zero.

    Attributes:
      true: uint16 `[M]`, the class of the examples.
      predicted: uint16 `[M]`, a class among their predictions.
      rank: uint8 `[M]`, its place there: 0 is the most probable.
      count: uint32 `[M]`, the examples, at least 1. No (true, predicted, rank) comes twice.
      num_examples: in the split; those that could not be decoded are in no count.
      num_classes: C.
    """

    true: np.ndarray
    predicted: np.ndarray
    rank: np.ndarray
    count: np.ndarray
    num_examples: int
    num_classes: int

    def matrix(self, top_k: int = 5) -> np.ndarray:
        """Returns the counts as int64 `[C, C]`: rows true, columns each of the first `top_k`.

        `matrix(1)` is the ordinary confusion matrix, and `trace(matrix(k)) / num_examples` the
        top-k accuracy.
        """
        matrix = np.zeros((self.num_classes, self.num_classes), np.int64)
        some = self.rank < top_k
        np.add.at(matrix, (self.true[some], self.predicted[some]), self.count[some])
        return matrix

    def accuracy(self, top_k: int) -> float:
        """Returns the fraction of the examples whose class is among the first `top_k`."""
        hits = (self.true == self.predicted) & (self.rank < top_k)
        return int(self.count[hits].sum(dtype=np.int64)) / max(self.num_examples, 1)


@dataclasses.dataclass(frozen=True)
class SavedConfusion:
    """The confusion of one evaluation of a run.

    Attributes:
      step: of the weights.
      epoch: the same in epochs.
      counts: what was predicted.
    """

    step: int
    epoch: float
    counts: ConfusionCounts


def count_confusion(
    labels: np.ndarray, top_classes: np.ndarray, *, num_examples: int, num_classes: int
) -> ConfusionCounts:
    """Counts true against predicted classes.

    Args:
      labels: int `[N]`.
      top_classes: int `[N, k]`, the predicted classes of each example, the most probable first.
      num_examples: in the split: N, or more where some could not be decoded.
      num_classes: C, at most 65,536.

    Returns:
      The counts, sorted by true class, then predicted class, then rank.
    """
    if num_classes > MAX_CLASSES:
        raise InputError(f'expected at most {MAX_CLASSES:,} classes, found {num_classes:,}')
    k = top_classes.shape[1]
    pairs = labels.astype(np.int64)[:, None] * num_classes + top_classes
    cells, counts = np.unique(pairs * k + np.arange(k), return_counts=True)
    pairs, ranks = np.divmod(cells, k)
    true, predicted = np.divmod(pairs, num_classes)
    return ConfusionCounts(
        true=true.astype(np.uint16),
        predicted=predicted.astype(np.uint16),
        rank=ranks.astype(np.uint8),
        count=counts.astype(np.uint32),
        num_examples=num_examples,
        num_classes=num_classes,
    )


def save_confusion(path: Path, saved: SavedConfusion) -> None:
    """Writes the file of an evaluation whole or not at all; the same counts give the same bytes.

    Raises:
      RunFailed: when it cannot be written.
    """
    counts = saved.counts
    arrays = {name: getattr(counts, name).astype(dtype) for name, dtype in _ARRAYS.items()}
    values = (counts.num_examples, counts.num_classes, saved.step, saved.epoch)
    scalars = zip(_SCALARS.items(), values, strict=True)
    arrays |= {name: np.array(value, dtype) for (name, dtype), value in scalars}
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    workdir.make_folder(path.parent)
    workdir.write_bytes(path, file.getvalue())


def load_confusion(path: Path) -> SavedConfusion:
    """Reads what `save_confusion` wrote, or says what is wrong with it.

    Nothing in the file is run, and no more memory is taken than `_MAX_RATIO` times its size.

    Raises:
      InputError: when it is not such a file.
    """
    try:
        limit = _MAX_RATIO * path.stat().st_size
        with zipfile.ZipFile(path) as archive:
            found = {}
            for name, dtype in (_ARRAYS | _SCALARS).items():
                found[name] = _read_array(archive, name, dtype, limit)
                limit -= found[name].nbytes
        scalars = {name: found.pop(name).item() for name in _SCALARS}
        step, epoch = scalars.pop('step'), scalars.pop('epoch')
        counts = ConfusionCounts(**found, **scalars)
        _check(counts)
        if step < 0 or not 0 <= epoch < np.inf:
            raise ValueError(f'step {step}, epoch {epoch}')
    except (OSError, EOFError, KeyError, ValueError, SyntaxError, RuntimeError) as error:
        raise _not_counts(path, error) from None
    except (zipfile.BadZipFile, zlib.error, OverflowError, RecursionError) as error:
        raise _not_counts(path, error) from None
    return SavedConfusion(step, epoch, counts)


def _not_counts(path: Path, error: Exception) -> InputError:
    return InputError(
        f'{path}: expected the confusion counts of an evaluation, found {error}. Take the file '
        'away: the pictures then leave this evaluation out'
    )


def _read_array(archive: zipfile.ZipFile, name: str, dtype: str, limit: int) -> np.ndarray:
    """Reads an array of the archive; its header is believed only where the bytes bear it out."""
    member = archive.getinfo(f'{name}.npy')
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f'{name!r} in an unknown compression')
    if member.file_size > limit:
        raise ValueError(f'{member.file_size:,} bytes for {name!r}, more than the file can hold')
    with archive.open(member) as stream:
        data = io.BytesIO(stream.read(limit))
    if np.lib.format.read_magic(data) != (1, 0):
        raise ValueError(f'{name!r} in an unknown version of the format')
    shape, _, found = np.lib.format.read_array_header_1_0(data)
    rest = data.getbuffer()[data.tell() :]
    num_values = len(rest) // found.itemsize if found.itemsize else 0
    expected = (num_values,) if name in _ARRAYS else ()
    if found.str != dtype or shape != expected or len(rest) != num_values * found.itemsize:
        raise ValueError(f'{name!r} as {found.str} {shape} in {len(rest):,} bytes')
    return np.frombuffer(rest, found).reshape(shape)


def _check(counts: ConfusionCounts) -> None:
    """Raises ValueError for counts that no evaluation makes."""
    lengths = {len(getattr(counts, name)) for name in _ARRAYS}
    if len(lengths) != 1:
        raise ValueError(f'arrays of {sorted(lengths)} values')
    if not 1 <= counts.num_classes <= MAX_CLASSES or counts.num_examples < 0:
        raise ValueError(f'{counts.num_classes} classes, {counts.num_examples} examples')
    for name, bound in ('true', counts.num_classes), ('predicted', counts.num_classes), ('rank', 5):
        values = getattr(counts, name)
        if values.size and values.max() >= bound:
            raise ValueError(f'{values.max()} in {name!r}, where all are below {bound}')
    if not counts.count.all():
        raise ValueError('a count of 0')
    per_rank = np.bincount(counts.rank, counts.count, minlength=1)
    if per_rank.max() > counts.num_examples:
        raise ValueError(f'{per_rank.max():,.0f} predictions of {counts.num_examples:,} examples')
