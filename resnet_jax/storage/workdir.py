"""The folder of a run: what lies where, and how it is written."""

import contextlib
import dataclasses
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from resnet_jax.config import serialization
from resnet_jax.errors import InputError
from resnet_jax.storage import metrics_csv
from resnet_jax.storage.files import locked, read_text, write_text

RUNS = Path('runs')
"""Where runs go for which no folder is named."""


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
            folders = [self.path, self.path.parent, RUNS]
            found = sorted({str(run.parent) for f in folders for run in f.glob('*/config.json')})
            near = f'; there are runs in {", ".join(found)}' if found else ''
            raise InputError(
                f'--workdir={self.path}: expected the folder of a run, found no config.json{near}'
            )
        return serialization.from_json(read_text(self.config_json), where=str(self.config_json))

    def write_config(self, config: ConfigDict) -> None:
        """Replaces `config.json`."""
        write_text(self.config_json, serialization.to_json(config))

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
        """Returns the rows of `metrics.csv`; see `metrics_csv.read_metrics`."""
        return metrics_csv.read_metrics(self.metrics_csv)

    def write_metrics(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Replaces `metrics.csv` by these rows."""
        metrics_csv.write_metrics(self.metrics_csv, rows)

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
