"""The tables of a run as arrays: `metrics.csv` and `machine.csv`."""

import csv
import io

import numpy as np

from resnet_jax.types import InputError
from resnet_jax.workdir import Workdir, read_text

Table = dict[str, np.ndarray]
"""Columns: float64 `[rows]`, nan where nothing was measured."""

_MAX = 1e15
"""No time, number of bytes or anything else in a table is larger; nothing larger can be drawn."""


def read_metrics(run: Workdir) -> Table:
    """Returns `metrics.csv`; without columns when there was no evaluation yet.

    Raises:
      InputError: when it is not such a table.
    """
    rows = run.read_metrics()
    header = list(rows[0]) if rows else []
    table = _to_columns(header, [[row[name] for name in header] for row in rows], run.metrics_csv)
    return _require(table, 'epoch', run.metrics_csv)


def read_machine(run: Workdir) -> Table:
    """Returns `machine.csv`; without columns when it has no rows or is not there.

    Which columns there are depends on the machine; `time_s` is always among them. Rows are appended
    while the run goes on, so what stands behind the last line's end is left out.

    Raises:
      InputError: when it is not such a table.
    """
    path = run.path / 'machine.csv'
    if not path.exists():
        return {}
    try:
        whole, end, _ = read_text(path).rpartition('\n')
        header, *rows = csv.reader(io.StringIO(whole + end), strict=True)
    except (csv.Error, ValueError) as error:
        raise InputError(f'{path}: expected a table, found {error}') from None
    if 'time_s' not in header:
        raise InputError(f'{path}: expected a column time_s, found {", ".join(header)}')
    return _require(_to_columns(header, rows, path), 'time_s', path) if rows else {}


def _to_columns(header: list[str], rows: list[list[str]], path: object) -> Table:
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise InputError(
                f'{path}, line {number}: expected {len(header)} values, found {len(row)}. Mend the '
                'table, or take it away'
            )
    columns = {}
    for i, name in enumerate(header):
        try:
            column = np.array([float(row[i] or 'nan') for row in rows])
            columns[name] = np.where(np.abs(column) < _MAX, column, np.nan)
        except ValueError as error:
            raise InputError(f'{path}: expected numbers in column {name}: {error}') from None
    return columns


def _require(table: Table, name: str, path: object) -> Table:
    """Returns the table, if there is a number in each row of a column."""
    if table and not np.all(table[name] >= 0):
        raise InputError(f'{path}: expected a number from 0 in each row of {name}')
    return table
