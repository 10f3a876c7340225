"""Log of the machine's counters: appends a row to a run's `machine.csv` every few steps."""

import math
import time
from collections.abc import Mapping
from pathlib import Path

from resnet_jax.monitoring.machine import Machine
from resnet_jax.storage.machine_csv import append_row, read_machine, write_machine


class MachineLog:
    """Writer of the `machine.csv` of a run, which a kill can cut short at any byte.

    If a run is continued on a machine with other counters, the file gets the columns of both
    machines. Cells are empty where a machine does not have the column.

    Args:
      path: path of the file. Rows after `start_step` are dropped, because those steps run again.
      machine: machine whose counters are read.
      start_step: number of steps done before this session.

    Raises:
      InputError: if the file exists and is not such a table.
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
        """Starts the clock of `time_s`, when the first step of the session is done.

        In a continued run the clock starts at the time of the last row that was kept, so the time
        between the sessions does not count. Later calls have no effect.
        """
        if self._started is None:
            self._started = time.perf_counter() - self._seconds_before

    def add_row(self, step: int, scalars: Mapping[str, float]) -> dict[str, float]:
        """Reads the counters and appends a row.

        Args:
          step: number of steps done, larger than in the row before.
          scalars: values of additional columns, the same columns in each call; nan leaves a cell
            empty.

        Returns:
          The values of the row by column, without `step`, `time_s` and empty cells.

        Raises:
          RunFailed: if the row cannot be written.
        """
        self.start_clock()
        assert self._started is not None
        sample = {
            name: value if value is not None and math.isfinite(value) else None
            for name, value in (self._machine.sample() | dict(scalars)).items()
        }
        elapsed = round(time.perf_counter() - self._started, 3)
        row = {'step': step, 'time_s': elapsed} | sample
        new_columns = tuple(name for name in row if name not in self._columns)
        if new_columns or not self._path.exists():  # first row of the file or of this machine
            self._columns += new_columns
            write_machine(self._path, self._columns, read_machine(self._path)[1])
        append_row(self._path, self._columns, row)
        return {name: value for name, value in sample.items() if value is not None}
