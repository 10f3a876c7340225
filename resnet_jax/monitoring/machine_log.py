"""`machine.csv`: a row of the machine's counters for every few steps of a run."""

import math
import time
from collections.abc import Mapping
from pathlib import Path

from resnet_jax.monitoring.machine import Machine
from resnet_jax.storage.machine_csv import append_row, read_machine, write_machine


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
        columns, rows = read_machine(path)
        kept = [row for row in rows if int(row['step']) <= start_step]
        self._columns = columns
        self._seconds_before = float(kept[-1]['time_s']) if kept else 0.0
        if columns:
            write_machine(path, columns, kept)

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
            write_machine(self._path, self._columns, read_machine(self._path)[1])
        append_row(self._path, self._columns, row)
        return {name: value for name, value in found.items() if value is not None}
