"""`machine.csv`: a row of the machine's counters for every few steps of a run."""

import csv
import io
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from absl import logging

from resnet_jax import workdir
from resnet_jax.monitoring.machine import Machine
from resnet_jax.types import InputError, RunFailed

KEY_COLUMNS = ('step', 'time_s')


class MachineLog:
    """Appends to the `machine.csv` of a run, which a kill may cut short at any byte.

    A run may be continued on a machine with other counters: then the file has the columns of both,
    and cells stay empty where a column was not there.

    Args:
      path: of the file. Rows behind `start_step` are dropped: those steps come again.
      machine: what is read.
      start_step: steps done before.

    Raises:
      InputError: when the file is something else.
    """

    def __init__(self, path: Path, machine: Machine, start_step: int):
        self._path = path
        self._machine = machine
        self._started: float | None = None
        columns, rows = read_table(path)
        kept = [row for row in rows if int(row['step']) <= start_step]
        self._columns = columns
        self._seconds_before = float(kept[-1]['time_s']) if kept else 0.0
        if columns:
            _write_table(path, columns, kept)

    def start_clock(self) -> None:
        """Says that the session's first step is done; `time_s` counts from the run's first.

        A session goes on counting where the last one's kept rows end, so that the time between
        them is left out. Once started, it goes on.
        """
        if self._started is None:
            self._started = time.perf_counter() - self._seconds_before

    def add_row(self, step: int, scalars: Mapping[str, float]) -> dict[str, float]:
        """Reads the machine and writes a row; returns its numbers by column.

        Args:
          step: steps done, more than in the row before.
          scalars: further columns, the same at each call; nan leaves a cell empty.

        Raises:
          RunFailed: when the row cannot be written.
        """
        self.start_clock()
        found = self._machine.sample() | dict(scalars)
        found = {
            name: value if value is not None and math.isfinite(value) else None
            for name, value in found.items()
        }
        elapsed = round(time.perf_counter() - self._started, 3)
        row = {'step': step, 'time_s': elapsed} | found
        new = tuple(name for name in row if name not in self._columns)
        if new or not self._path.exists():  # the file's first row, or this machine's
            self._columns += new
            _write_table(self._path, self._columns, read_table(self._path)[1])
        try:
            with self._path.open('a', encoding='utf-8') as file:
                file.write(_format_rows(self._columns, [row]))
        except OSError as error:
            raise RunFailed(
                f'{self._path}: cannot be written: {error.strerror}. What was saved before is '
                'whole; make room or mend the disk, and start the same command again'
            ) from None
        return {name: value for name, value in found.items() if value is not None}


def read_table(path: Path) -> tuple[tuple[str, ...], list[dict[str, str]]]:
    """Returns the columns of a `machine.csv` and its rows as text; both empty without a file.

    A row that is cut short, as a kill may leave the last one, is left out.

    Raises:
      InputError: when the file is no such table.
    """
    try:
        text = path.read_text(encoding='utf-8', errors='replace')
    except FileNotFoundError:
        return (), []
    except OSError as error:
        raise InputError(f'{path}: expected a readable file, found: {error.strerror}') from None
    header, _, body = text.partition('\n')
    columns = tuple(header.split(','))
    if columns[:2] != KEY_COLUMNS or len(set(columns)) < len(columns):
        raise InputError(
            f'{path}: expected a table that begins with the columns {", ".join(KEY_COLUMNS)}, '
            f'found {header[:60]!r}. Mend it, or take it away: then a new one begins'
        )
    *lines, torn = body.split('\n')
    cells = [line.split(',') for line in lines]
    rows = [dict(zip(columns, row, strict=True)) for row in cells if _is_whole(row, len(columns))]
    if torn or len(rows) < len(lines):
        logging.warning(
            '%s: rows that are cut short, and left out: %d',
            path,
            len(lines) + bool(torn) - len(rows),
        )
    return columns, rows


def _is_whole(cells: Sequence[str], num_columns: int) -> bool:
    if len(cells) != num_columns or not cells[0].isdecimal():
        return False
    try:
        return all(math.isfinite(float(cell)) for cell in cells[1:] if cell) and bool(cells[1])
    except ValueError:
        return False


def _write_table(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
    workdir.write_text(path, ','.join(columns) + '\n' + _format_rows(columns, rows))


def _format_rows(columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> str:
    text = io.StringIO()
    csv.DictWriter(text, columns, lineterminator='\n').writerows(rows)
    return text.getvalue()
