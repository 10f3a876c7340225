"""`machine.csv`: one row of the machine's counters every few steps. Its only reader and writer.

Rows are appended while a run trains, so a kill can cut the last row short at any byte. The columns
depend on the machine.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from absl import logging

from resnet_jax.errors import InputError, RunFailed
from resnet_jax.storage.files import write_text

KEY_COLUMNS = ('step', 'time_s')
"""The first columns of every table."""


def read_machine(path: Path) -> tuple[tuple[str, ...], list[dict[str, str]]]:
    """Returns the columns and the rows as text; both are empty if there is no file.

    Damaged rows, such as one that a kill cut short, are left out with a warning.

    Raises:
      InputError: if the file is not such a table.
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
            f'found {header[:60]!r}. Fix or delete it; a new one will be created'
        )
    *lines, torn = body.split('\n')
    cells = [line.split(',') for line in lines]
    rows = [dict(zip(columns, row, strict=True)) for row in cells if _is_whole(row, len(columns))]
    num_left_out = len(lines) + bool(torn) - len(rows)
    if num_left_out:
        logging.warning('%s: damaged rows that are left out: %d', path, num_left_out)
    return columns, rows


def _is_whole(cells: Sequence[str], num_columns: int) -> bool:
    if len(cells) != num_columns or not cells[0].isdecimal():
        return False
    try:
        return all(math.isfinite(float(cell)) for cell in cells[1:] if cell) and bool(cells[1])
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
      RunFailed: if the file cannot be written.
    """
    try:
        with path.open('a', encoding='utf-8') as file:
            file.write(_format_rows(columns, [row]))
    except OSError as error:
        raise RunFailed(
            f'{path}: cannot be written: {error.strerror}. The earlier rows are intact; free '
            'some space or repair the disk, and run the same command again'
        ) from None


def _format_rows(columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> str:
    text = io.StringIO()
    csv.DictWriter(text, columns, lineterminator='\n').writerows(rows)
    return text.getvalue()
