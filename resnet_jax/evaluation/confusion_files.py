"""Confusion counts on the disk."""

import dataclasses
import io
import zipfile
import zlib
from pathlib import Path

import numpy as np

from resnet_jax.errors import InputError
from resnet_jax.evaluation.confusion import MAX_CLASSES, ConfusionCounts
from resnet_jax.storage.files import make_folder, write_bytes

_ARRAYS = {'true': '<u2', 'predicted': '<u2', 'rank': '|u1', 'count': '<u4'}

_SCALARS = {'num_examples': '<i8', 'num_classes': '<i8', 'step': '<i8', 'epoch': '<f8'}


_MAX_RATIO = 100
"""A file's arrays may hold so many times its own bytes; those of real evaluations hold 3 to 40."""


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
    make_folder(path.parent)
    write_bytes(path, file.getvalue())


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
