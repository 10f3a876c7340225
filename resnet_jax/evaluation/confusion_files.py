"""Files of confusion counts: saving, loading and checking them."""

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
"""Names and dtypes of the one-dimensional arrays in a file."""

_SCALARS = {'num_examples': '<i8', 'num_classes': '<i8', 'step': '<i8', 'epoch': '<f8'}
"""Names and dtypes of the scalars in a file."""

_MAX_RATIO = 100
"""Greatest allowed ratio of a file's uncompressed size to its size; real files had 3 to 40."""


@dataclasses.dataclass(frozen=True)
class SavedConfusion:
    """Confusion counts of one evaluation of a run.

    Attributes:
      step: number of training steps of the evaluated weights.
      epoch: number of training epochs of the evaluated weights.
      counts: the confusion counts.
    """

    step: int
    epoch: float
    counts: ConfusionCounts


def save_confusion(path: Path, saved: SavedConfusion) -> None:
    """Writes the confusion counts of an evaluation to a file.

    The file is written atomically. The same counts give the same bytes.

    Raises:
      RunFailed: if the file cannot be written.
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
    """Reads a file that `save_confusion` wrote.

    A malicious file is harmless: nothing in it is executed, and its arrays take at most
    `_MAX_RATIO` times its size in memory.

    Raises:
      InputError: if the file is missing or is not such a file; the message says why.
    """
    try:
        limit = _MAX_RATIO * path.stat().st_size
        with zipfile.ZipFile(path) as archive:
            arrays = {}
            for name, dtype in (_ARRAYS | _SCALARS).items():
                arrays[name] = _read_array(archive, name, dtype, limit)
                limit -= arrays[name].nbytes
        scalars = {name: arrays.pop(name).item() for name in _SCALARS}
        step, epoch = scalars['step'], scalars['epoch']
        counts = ConfusionCounts(
            **arrays, num_examples=scalars['num_examples'], num_classes=scalars['num_classes']
        )
        _check_counts(counts)
        if step < 0 or not 0 <= epoch < np.inf:
            raise ValueError(f'step {step}, epoch {epoch}')
    except (OSError, EOFError, KeyError, ValueError, SyntaxError, RuntimeError) as error:
        raise _bad_file(path, error) from None
    except (zipfile.BadZipFile, zlib.error, OverflowError, RecursionError) as error:
        raise _bad_file(path, error) from None
    return SavedConfusion(step, epoch, counts)


def _bad_file(path: Path, error: Exception) -> InputError:
    return InputError(
        f'{path}: expected the confusion counts of an evaluation, found {error}. Delete the file; '
        'the report is then made without this evaluation'
    )


def _read_array(archive: zipfile.ZipFile, name: str, dtype: str, limit: int) -> np.ndarray:
    """Reads an array of the archive; its header must agree with the number of its bytes."""
    member = archive.getinfo(f'{name}.npy')
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f'{name!r} with an unknown compression')
    if member.file_size > limit:
        raise ValueError(f'{member.file_size:,} bytes for {name!r}, more than the file can hold')
    with archive.open(member) as stream:
        content = io.BytesIO(stream.read(limit))
    if np.lib.format.read_magic(content) != (1, 0):
        raise ValueError(f'{name!r} in an unknown version of the format')
    shape, _, stored_dtype = np.lib.format.read_array_header_1_0(content)
    values = content.getbuffer()[content.tell() :]
    itemsize = stored_dtype.itemsize
    num_values = len(values) // itemsize if itemsize else 0
    expected_shape = (num_values,) if name in _ARRAYS else ()
    has_right_size = len(values) == num_values * itemsize
    if stored_dtype.str != dtype or shape != expected_shape or not has_right_size:
        raise ValueError(f'{name!r} as {stored_dtype.str} {shape} in {len(values):,} bytes')
    return np.frombuffer(values, stored_dtype).reshape(shape)


def _check_counts(counts: ConfusionCounts) -> None:
    """Checks that an evaluation can have made these counts.

    Raises:
      ValueError: if it cannot; the message is the "found" part of an error message.
    """
    lengths = {len(getattr(counts, name)) for name in _ARRAYS}
    if len(lengths) != 1:
        raise ValueError(f'arrays of different lengths, {sorted(lengths)}')
    if not 1 <= counts.num_classes <= MAX_CLASSES or counts.num_examples < 0:
        raise ValueError(f'{counts.num_classes} classes, {counts.num_examples} examples')
    for name, bound in ('true', counts.num_classes), ('predicted', counts.num_classes), ('rank', 5):
        values = getattr(counts, name)
        if values.size and values.max() >= bound:
            raise ValueError(f'{values.max()} in {name!r}, where all values must be below {bound}')
    if not counts.count.all():
        raise ValueError('a count of 0')
    per_rank = np.bincount(counts.rank, counts.count, minlength=1)
    if per_rank.max() > counts.num_examples:
        raise ValueError(f'{per_rank.max():,.0f} predictions of {counts.num_examples:,} examples')
