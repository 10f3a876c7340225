"""`metrics.csv`: one row for each evaluation of a run. Its only reader and writer."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resnet_jax.errors import InputError
from resnet_jax.storage.files import read_text, write_text
from resnet_jax.storage.steps import parse_step

METRICS_COLUMNS = (
    'step',
    'epoch',
    'learning_rate',
    'train_loss',
    'train_top1',
    'train_top5',
    'validation_loss',
    'validation_top1',
    'validation_top5',
    'images_per_second',
    'input_wait_fraction',
)
"""New columns are only ever appended; tables of earlier versions with fewer columns can be read."""

_NUM_FIRST_COLUMNS = 10
"""Number of columns of the first version."""


def read_metrics(path: Path) -> list[dict[str, str]]:
    """Returns the rows as text, oldest first; '' where a column is missing, [] without a file.

    Raises:
      InputError: if the file is not such a table.
    """
    if not path.exists():
        return []
    rows = []
    reader = csv.reader(io.StringIO(read_text(path, errors='replace'), newline=''), strict=True)
    try:
        columns = next(reader, [])
        known = METRICS_COLUMNS[: len(columns)]
        if len(columns) < _NUM_FIRST_COLUMNS or tuple(columns) != known:
            raise ValueError('other columns')
        for cells in reader:
            if cells:
                _check(cells, len(columns))
                rows.append(
                    dict.fromkeys(METRICS_COLUMNS, '') | dict(zip(known, cells, strict=True))
                )
    except (csv.Error, ValueError) as error:
        raise InputError(
            f'{path}: expected a table of {", ".join(METRICS_COLUMNS)}; found in line '
            f'{max(1, reader.line_num)}: {error}. Fix or delete it; a new one will be created'
        ) from None
    return rows


def _check(cells: Sequence[str], num_columns: int) -> None:
    """Checks the cells of a row.

    Raises:
      ValueError: if their number is another one, or if one of them is not a number.
    """
    if len(cells) != num_columns:
        raise ValueError(f'{len(cells)} cells for {num_columns} columns')
    if parse_step(cells[0]) is None:
        raise ValueError(f'a step {cells[0][:40]!r}')
    for cell in cells[1:]:
        try:
            float(cell or 'nan')
        except ValueError:
            raise ValueError(f'{cell[:40]!r}, which is not a number') from None


def write_metrics(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Replaces the file by these rows, atomically.

    Raises:
      RunFailed: if the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, METRICS_COLUMNS, lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
