"""Writing of TFRecord files, the list of finished files, and TFDS's description of them.

The files of a split are planned before any is written: names, first example, number of examples.
They are written one after the other, each under a temporary name until it is finished. After each
file, `files.jsonl` is updated, so that a later process can continue after the last finished file.
"""

import contextlib
import csv
import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from resnet_jax.errors import RunFailed
from resnet_jax.storage.files import write_text

VERSION = '1.0.0'


@dataclasses.dataclass
class RecordFile:
    """A file of records, planned or written.

    Attributes:
      name: name of the file in its folder.
      split: name of the split of its examples.
      start: position of its first example in the split.
      num_positions: number of examples of the split that it covers.
      num_examples: number of records in the file: `num_positions` less the bad images.
      num_bytes: size of the file in bytes.
      sha256: SHA-256 of its records, without the TFRecord format's own lengths and checksums.
      bad_images: `[name, fault]` of each image that was left out.
    """

    name: str
    split: str
    start: int
    num_positions: int
    num_examples: int = 0
    num_bytes: int = 0
    sha256: str = ''
    bad_images: list[list[str]] = dataclasses.field(default_factory=list)


def plan_files(name: str, split: str, num_examples: int, per_file: int) -> list[RecordFile]:
    """Divides a split into files of `per_file` examples, with the names that TFDS expects."""
    starts = range(0, num_examples, per_file)
    return [
        RecordFile(
            f'{name}-{split}.tfrecord-{number:05d}-of-{len(starts):05d}',
            split,
            start,
            min(per_file, num_examples - start),
        )
        for number, start in enumerate(starts)
    ]


def read_written(folder: Path, planned: Sequence[RecordFile]) -> list[RecordFile]:
    """Returns the files that an earlier process has finished: the first ones of the plan.

    The first file that is missing or has changed its size ends the result; it and all later files
    must be written again. The same holds for an entry of `files.jsonl` that contradicts the plan.
    """
    written = []
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        lines = (folder / 'files.jsonl').read_text(encoding='utf-8').splitlines()
        for plan, line in zip(planned, lines, strict=False):
            file = RecordFile(**json.loads(line))
            if not _is_as_planned(file, plan):
                break
            if (folder / plan.name).stat().st_size != file.num_bytes:
                break
            written.append(file)
    return written


def _is_as_planned(file: RecordFile, plan: RecordFile) -> bool:
    """Says whether an entry of `files.jsonl` agrees with the plan and with itself."""
    bad_images = [[str(text) for text in (name, fault)] for name, fault in file.bad_images]
    num_examples = plan.num_positions - len(bad_images)
    expected = dataclasses.replace(
        plan,
        num_examples=num_examples,
        num_bytes=file.num_bytes,
        sha256=str(file.sha256),
        bad_images=bad_images,
    )
    return file == expected and type(file.num_examples) is int


def write_list(folder: Path, files: Iterable[RecordFile]) -> None:
    """Writes the list of the finished files, `files.jsonl`, for `read_written`."""
    lines = [json.dumps(dataclasses.asdict(file)) + '\n' for file in files]
    write_text(folder / 'files.jsonl', ''.join(lines))


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns an error of the disk into `RunFailed` with the path and the reason."""
    try:
        yield
    except (tf.errors.OpError, OSError) as error:
        reason = getattr(error, 'strerror', None) or getattr(error, 'message', str(error))
        raise RunFailed(
            f'{path}: cannot be written: {reason}. The files before it are intact; free some space '
            'or repair the disk, and run the same command again'
        ) from None


class FileWriter:
    """Writer of one TFRecord file, which gets its name when `close` returns.

    Attributes:
      file: the file as written so far.

    Raises:
      RunFailed: if the file cannot be written; any method can raise it.
    """

    def __init__(self, folder: Path, file: RecordFile):
        self._path = folder / file.name
        self._temporary = folder / f'.{file.name}.tmp'
        self._checksum = hashlib.sha256()
        self.file = dataclasses.replace(file, num_examples=0, bad_images=[])
        with explained(self._path):
            self._writer = tf.io.TFRecordWriter(str(self._temporary))

    def write(self, record: bytes) -> None:
        """Adds a record."""
        self._checksum.update(record)
        self.file.num_examples += 1
        with explained(self._path):
            self._writer.write(record)

    def leave_out(self, name: str, fault: str) -> None:
        """Adds a bad image to the list of those that were left out."""
        self.file.bad_images.append([name, fault])

    def close(self) -> RecordFile:
        """Completes the file, gives it its name, and returns its description."""
        with explained(self._path):
            self._writer.close()
            with self._temporary.open('rb') as temporary:
                os.fsync(temporary.fileno())
            self._temporary.replace(self._path)
            self.file.num_bytes = self._path.stat().st_size
        self.file.sha256 = self._checksum.hexdigest()
        return self.file


def write_bad_images(path: Path, files: Iterable[RecordFile]) -> None:
    """Writes the table of the images that were left out, as CSV, if there are any."""
    rows = [[file.split, *bad_image] for file in files for bad_image in file.bad_images]
    if rows:
        text = io.StringIO()
        csv.writer(text, lineterminator='\n').writerows([['split', 'image', 'fault'], *rows])
        write_text(path, text.getvalue())


def write_description(
    folder: Path, files: Sequence[RecordFile], features: Any, metadata: dict[str, Any]
) -> None:
    """Writes TFDS's description of the files into their folder.

    Args:
      folder: folder of the files.
      files: all files, written, in the plan's order.
      features: TFDS's description of the examples.
      metadata: settings of the preparation. `metadata.json` holds them, the numbers of examples and
        of bad images in each split, and a checksum of the data set, `sha256`: the SHA-256 of the
        files' checksums, one a line, in the plan's order.
    """
    import tensorflow_datasets as tfds

    by_split: dict[str, list[RecordFile]] = {}
    for file in files:
        by_split.setdefault(file.split, []).append(file)
    template = tfds.core.ShardedFileTemplate(
        data_dir=folder, dataset_name=files[0].name.partition('-')[0], filetype_suffix='tfrecord'
    )
    checksums = ''.join(f'{file.sha256}\n' for file in files)
    counts = {
        'num_examples': {s: sum(f.num_examples for f in fs) for s, fs in by_split.items()},
        'num_bad_images': {s: sum(len(f.bad_images) for f in fs) for s, fs in by_split.items()},
        'sha256': hashlib.sha256(checksums.encode()).hexdigest(),
    }
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=features,
        split_infos=[
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=[file.num_examples for file in split_files],
                num_bytes=sum(file.num_bytes for file in split_files),
                filename_template=template,
            )
            for split, split_files in by_split.items()
        ],
        version=VERSION,
        filename_template=template,
        supervised_keys=('image', 'label'),
        metadata=tfds.core.MetadataDict(metadata | counts),
        check_data=False,
    )
