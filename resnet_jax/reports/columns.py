"""Columns of `metrics.csv` and `machine.csv` as NumPy arrays."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from resnet_jax.errors import InputError
from resnet_jax.storage import machine_csv
from resnet_jax.storage.workdir import Workdir

Columns = dict[str, np.ndarray]
"""Arrays by column name: float64 `[rows]`, nan where nothing was measured."""

_MAX = 1e15
"""Numbers of this size or more cannot be drawn and become nan; no real measurement is as large."""


def read_metrics(run: Workdir) -> Columns:
    """Returns the columns of `metrics.csv`; none before the first evaluation.

    Raises:
      InputError: if the file is not a table of metrics.
    """
    rows = run.read_metrics()
    return _to_columns(list(rows[0]) if rows else [], rows, run.metrics_csv, key='epoch')


def read_machine(run: Workdir) -> Columns:
    """Returns the columns of `machine.csv`; none if the file is missing or has no rows.

    The columns depend on the machine; `step` and `time_s` are always among them.

    Raises:
      InputError: if the file is not a table of machine counters.
    """
    names, rows = machine_csv.read_machine(run.machine_csv)
    return _to_columns(names if rows else [], rows, run.machine_csv, key='time_s')


def _to_columns(
    names: Sequence[str], rows: Sequence[Mapping[str, str]], path: Path, *, key: str
) -> Columns:
    """Converts rows of text to columns of numbers; the column `key` must have no gaps."""
    columns = {}
    for name in names:
        column = np.array([float(row[name] or 'nan') for row in rows])
        columns[name] = np.where(np.abs(column) < _MAX, column, np.nan)
    damaged = [
        row for row, value in zip(rows, columns.get(key, ()), strict=False) if not value >= 0
    ]
    if damaged:
        raise InputError(
            f'{path}: expected a number of at least 0 in each row of {key}, found '
            f'{damaged[0][key][:40]!r} at step {damaged[0]["step"]}'
        )
    return columns
