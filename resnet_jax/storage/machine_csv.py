"""`machine.csv`: one row of the machine's counters every few steps. Its only reader and writer.

Rows are appended while a run trains, so a kill can cut the last row short at any byte. The columns
depend on the machine.
"""

import csv
import io
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from absl import logging

from resnet_jax.errors import InputError
from resnet_jax.storage.files import append_text, read_text, write_text
from resnet_jax.storage.steps import parse_step

KEY_COLUMNS = ('step', 'time_s')
"""The first columns of every table."""


def read_machine(path: Path) -> tuple[tuple[str, ...], list[dict[str, str]]]:
    """Returns the columns and the rows as text; both are empty if there is no file.

    Damaged rows are left out with a warning. A last row without line end, which is being written or
    which a kill cut short, is left out silently.

    Raises:
      InputError: if the file is not such a table.
    """
    if not path.exists():
        return (), []
    text = read_text(path, errors='replace').replace('\r\n', '\n')
    header, _, body = text.partition('\n')
    columns = tuple(header.split(','))
    if columns[:2] != KEY_COLUMNS or len(set(columns)) < len(columns):
        raise InputError(
            f'{path}: expected a table that begins with the columns {", ".join(KEY_COLUMNS)}, '
            f'found {header[:60]!r}. Fix or delete it; a new one will be created'
        )
    lines = body.split('\n')[:-1]
    cells = [line.split(',') for line in lines]
    is_whole = [_is_whole(row, len(columns)) for row in cells]
    if not all(is_whole):
        logging.warning(
            '%s: damaged rows that are left out: %d, the first of them in line %d',
            *(path, is_whole.count(False), is_whole.index(False) + 2),
        )
    whole = itertools.compress(cells, is_whole)
    rows = [dict(zip(columns, row, strict=True)) for row in whole]
    return columns, rows


def _is_whole(cells: Sequence[str], num_columns: int) -> bool:
    if len(cells) != num_columns or parse_step(cells[0]) is None:
        return False
    try:
        no_infinity = all(not math.isinf(float(cell)) for cell in cells[1:] if cell)
        return no_infinity and math.isfinite(float(cells[1]))
    except ValueError:
        return False


def write_machine(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
    """Replaces the file by these columns and rows, atomically.

    Raises:
      RunFailed: if the file cannot be written.
    """
    write_text(path, ','.join(columns) + '\n' + _format_rows(columns, rows))


def append_row(path: Path, columns: Sequence[str], row: Mapping[str, object]) -> None:
    """Appends a row to the file.

    Raises:
      InputError: if the path exists and is not a regular file.
      RunFailed: if the file cannot be written.
    """
    append_text(path, _format_rows(columns, [row]))


def _format_rows(columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> str:
    text = io.StringIO()
    csv.DictWriter(text, columns, lineterminator='\n').writerows(rows)
    return text.getvalue()
