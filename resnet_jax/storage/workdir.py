"""Working folder of a run: paths of all its files, reading and writing of the small ones."""

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
from resnet_jax.storage.steps import parse_step

RUNS = Path('runs')
"""Parent folder of the runs for which the user names no folder."""


@dataclasses.dataclass(frozen=True)
class Workdir:
    """The paths of a run's files, with methods for the small files.

    Attributes:
      path: path of the run's folder, which need not exist yet.
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
        """Returns whether the folder contains a run."""
        return self.config_json.is_file()

    def create(self) -> None:
        """Creates the folder and its parents, and checks that files can be created in it.

        Raises:
          InputError: if the folder cannot be created or written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise InputError(
                f'--workdir={self.path}: expected a folder to write into, found: {error.strerror}; '
                'choose another folder'
            ) from None

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Keeps other processes from training in this folder; see `files.locked`."""
        return locked(self.path, '--workdir')

    def read_config(self) -> ConfigDict:
        """Returns the config of the run.

        Raises:
          InputError: if the folder contains no run. The message lists the runs in this folder, in
            its parent and in `runs`.
        """
        if not self.has_run():
            folders = [self.path, self.path.parent, RUNS]
            configs = [path for folder in folders for path in folder.glob('*/config.json')]
            runs = sorted({str(path.parent) for path in configs})
            hint = f'; there are runs in {", ".join(runs)}' if runs else ''
            raise InputError(
                f'--workdir={self.path}: expected the folder of a run, found no config.json{hint}'
            )
        return serialization.from_json(read_text(self.config_json), where=str(self.config_json))

    def write_config(self, config: ConfigDict) -> None:
        """Replaces `config.json`."""
        write_text(self.config_json, serialization.to_json(config))

    def read_class_names(self) -> tuple[str, ...]:
        """Returns the names of the classes in index order.

        Raises:
          InputError: if the file cannot be read or is empty.
        """
        path = self.path / 'class_names.txt'
        text = read_text(path).removesuffix('\n')
        names = tuple(name.removesuffix('\r') for name in text.split('\n'))
        if not text:
            raise InputError(f'{path}: expected a line for each class, found an empty file')
        return names

    def write_class_names(self, class_names: Sequence[str]) -> None:
        """Replaces `class_names.txt`: one line for each class, in index order.

        Raises:
          InputError: if a name has a line break, or characters that UTF-8 lacks.
        """
        for name in class_names:
            if '\n' in name or '\r' in name or name.encode(errors='ignore').decode() != name:
                raise InputError(
                    f'class {name!r}: expected a name of one line in UTF-8; rename this class'
                )
        write_text(self.path / 'class_names.txt', ''.join(f'{name}\n' for name in class_names))

    def write_environment(self, environment: Mapping[str, Any]) -> None:
        """Replaces `environment.json`."""
        write_text(self.path / 'environment.json', json.dumps(environment, indent=2) + '\n')

    def read_environment(self) -> dict[str, Any]:
        """Returns the content of `environment.json`; an empty dict if there is no such file.

        Raises:
          InputError: if the file does not hold a JSON object.
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
        """Returns the path of the confusion counts of the evaluation at a step."""
        return self.confusion / f'{step}.npz'

    def list_confusion_steps(self) -> list[int]:
        """Returns the steps of the evaluations whose confusion counts exist, in ascending order."""
        steps = (parse_step(path.stem) for path in self.confusion.glob('*.npz'))
        return sorted(step for step in steps if step is not None)

    def forget_confusion_after(self, step: int) -> None:
        """Deletes the confusion counts of later steps, because those steps run again."""
        for later_step in self.list_confusion_steps():
            if later_step > step:
                self.confusion_file(later_step).unlink(missing_ok=True)
