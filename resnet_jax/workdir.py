"""The folder of a run: what lies where, and how it is written."""

import contextlib
import csv
import dataclasses
import fcntl
import io
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from resnet_jax import base_config, validation
from resnet_jax.types import InputError, RunFailed

METRICS_COLUMNS = (
    'step',
    'epoch',
    'learning_rate',
    'train_loss',
    'train_top1',
    'train_top5',
    'validation_loss',
    'validation_top1',
    'validation_top5',
    'images_per_second',
    'input_wait_fraction',
)
"""New columns come last: tables that lack some of them are from before, and are read."""

NUM_FIRST_COLUMNS = 10


@dataclasses.dataclass(frozen=True)
class Workdir:
    """The paths of a run, and the small files among them.

    Attributes:
      path: the folder, which need not exist yet.
    """

    path: Path

    @property
    def checkpoints(self) -> Path:
        return self.path / 'checkpoints'

    @property
    def tensorboard(self) -> Path:
        return self.path / 'tensorboard'

    @property
    def metrics_csv(self) -> Path:
        return self.path / 'metrics.csv'

    @property
    def machine_csv(self) -> Path:
        return self.path / 'machine.csv'

    @property
    def confusion(self) -> Path:
        return self.path / 'confusion'

    @property
    def report(self) -> Path:
        return self.path / 'report'

    @property
    def config_json(self) -> Path:
        return self.path / 'config.json'

    def has_run(self) -> bool:
        """Says whether a run has begun here."""
        return self.config_json.is_file()

    def create(self) -> None:
        """Makes the folder, with those above it.

        Raises:
          InputError: when that is not possible.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise InputError(
                f'--workdir={self.path}: expected a folder to write into, found: {error.strerror}'
            ) from None

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Keeps other processes from training here; see `locked`."""
        return locked(self.path, '--workdir')

    def read_config(self) -> ConfigDict:
        """Returns the config of the run.

        Raises:
          InputError: when there is no run here; names the runs beside it.
        """
        if not self.has_run():
            folders = [self.path, self.path.parent, base_config.RUNS]
            found = sorted({str(run.parent) for f in folders for run in f.glob('*/config.json')})
            near = f'; there are runs in {", ".join(found)}' if found else ''
            raise InputError(
                f'--workdir={self.path}: expected the folder of a run, found no config.json{near}'
            )
        return validation.from_json(read_text(self.config_json), where=str(self.config_json))

    def write_config(self, config: ConfigDict) -> None:
        """Replaces `config.json`."""
        write_text(self.config_json, validation.to_json(config))

    def read_class_names(self) -> tuple[str, ...]:
        """Returns the names of the classes in index order."""
        path = self.path / 'class_names.txt'
        names = tuple(read_text(path).splitlines())
        if not names:
            raise InputError(f'{path}: expected a line for each class, found an empty file')
        return names

    def write_class_names(self, class_names: Sequence[str]) -> None:
        """Replaces `class_names.txt`: a line a class, in index order."""
        write_text(self.path / 'class_names.txt', ''.join(f'{name}\n' for name in class_names))

    def write_environment(self, environment: Mapping[str, Any]) -> None:
        """Replaces `environment.json`."""
        write_text(self.path / 'environment.json', json.dumps(environment, indent=2) + '\n')

    def read_environment(self) -> dict[str, Any]:
        """Returns what `write_environment` wrote; empty where that is lost.

        Raises:
          InputError: when it is not such a file.
        """
        path = self.path / 'environment.json'
        if not path.exists():
            return {}
        try:
            environment = json.loads(read_text(path))
        except (ValueError, RecursionError) as error:
            raise InputError(f'{path}: expected JSON, found {error}') from None
        if not isinstance(environment, dict):
            raise InputError(f'{path}: expected a JSON object, found {type(environment).__name__}')
        return environment

    def read_metrics(self) -> list[dict[str, str]]:
        """Returns the rows of `metrics.csv` as text, oldest first; '' where a column is missing.

        Raises:
          InputError: when it is not such a table.
        """
        if not self.metrics_csv.exists():
            return []
        try:
            reader = csv.DictReader(io.StringIO(read_text(self.metrics_csv)), strict=True)
            rows = list(reader)
            whole = all(row['step'].isdecimal() and None not in row.values() for row in rows)
            columns = tuple(reader.fieldnames or ())
            known = len(columns) >= NUM_FIRST_COLUMNS and columns == METRICS_COLUMNS[: len(columns)]
            if not (known and whole):
                raise ValueError('other columns or a row that is cut short')
        except (csv.Error, KeyError, ValueError, AttributeError) as error:
            raise InputError(
                f'{self.metrics_csv}: expected a table of {", ".join(METRICS_COLUMNS)}; found '
                f'{error}. Mend it, or take it away: then a new one begins'
            ) from None
        return [dict.fromkeys(METRICS_COLUMNS, '') | row for row in rows]

    def write_metrics(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Replaces `metrics.csv` by these rows."""
        text = io.StringIO()
        writer = csv.DictWriter(text, METRICS_COLUMNS, lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.metrics_csv, text.getvalue())

    def confusion_file(self, step: int) -> Path:
        """Returns where the confusion counts of an evaluation lie."""
        return self.confusion / f'{step}.npz'

    def list_confusion_steps(self) -> list[int]:
        """Returns the steps of the evaluations whose confusion counts are there, ascending."""
        names = [path.stem for path in self.confusion.glob('*.npz')]
        return sorted(int(name) for name in names if name.isdecimal() and str(int(name)) == name)

    def forget_confusion_after(self, step: int) -> None:
        """Removes the confusion counts of later steps, which will come again."""
        for later in self.list_confusion_steps():
            if later > step:
                self.confusion_file(later).unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Makes a folder in one that is there, unless it is there itself.

    Raises:
      RunFailed: when that is not possible.
    """
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise RunFailed(f'{path}: expected to make this folder, found: {error.strerror}') from None


@contextlib.contextmanager
def locked(folder: Path, flag: str) -> Iterator[None]:
    """Keeps other processes from working in a folder while the block runs.

    Args:
      folder: exists.
      flag: by which it was named, for messages.

    Raises:
      InputError: when another process works in it already.
    """
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context((folder / '.lock').open('w'))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f'{flag}={folder}: expected a folder in which nobody works, and another process '
                'does: wait for it, stop it, or choose another folder'
            ) from None
        except OSError as error:
            raise InputError(
                f'{flag}={folder}: expected a disk that can lock files, found: {error.strerror}'
            ) from None
        yield


def write_text(path: Path, text: str) -> None:
    """Writes a text file whole or not at all, as `write_bytes` does."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all: to a temporary name, to the disk, then in place.

    Raises:
      RunFailed: when it cannot be written.
    """
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        with temporary.open('wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise RunFailed(
            f'{path}: cannot be written: {error.strerror}. What it held before is whole; make room '
            'or mend the disk, and start the same command again'
        ) from None


def read_text(path: Path) -> str:
    """Reads a text file of a run.

    Raises:
      InputError: when that is not possible.
    """
    try:
        return path.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f'{path}: expected a readable text file of a run: {error}') from None
