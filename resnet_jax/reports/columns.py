"""`metrics.csv` and `machine.csv` as arrays, a column each."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from resnet_jax.errors import InputError
from resnet_jax.storage import machine_csv
from resnet_jax.storage.workdir import Workdir

Columns = dict[str, np.ndarray]
"""Columns by name: float64 `[rows]`, nan where nothing was measured."""

_MAX = 1e15
"""Larger than any number in a table; larger ones cannot be drawn."""


def read_metrics(run: Workdir) -> Columns:
    """Returns `metrics.csv`, without columns before the first evaluation.

    Raises:
      InputError: when it is not such a table.
    """
    rows = run.read_metrics()
    return _to_columns(list(rows[0]) if rows else [], rows, run.metrics_csv, key='epoch')


def read_machine(run: Workdir) -> Columns:
    """Returns `machine.csv`, without columns when it is missing or has no rows.

    Which columns there are depends on the machine; `step` and `time_s` are always among them.

    Raises:
      InputError: when it is not such a table.
    """
    names, rows = machine_csv.read_machine(run.machine_csv)
    return _to_columns(names if rows else [], rows, run.machine_csv, key='time_s')


def _to_columns(
    names: Sequence[str], rows: Sequence[Mapping[str, str]], path: Path, *, key: str
) -> Columns:
    """Turns text into numbers, of which the key column must have one in each row."""
    columns = {}
    for name in names:
        try:
            column = np.array([float(row[name] or 'nan') for row in rows])
        except ValueError as error:
            raise InputError(f'{path}: expected numbers in column {name}: {error}') from None
        columns[name] = np.where(np.abs(column) < _MAX, column, np.nan)
    if columns and not np.all(columns[key] >= 0):
        raise InputError(f'{path}: expected a number of at least 0 in each row of {key}')
    return columns
