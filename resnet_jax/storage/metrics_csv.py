"""`metrics.csv`: one row for each evaluation of a run. Its only reader and writer."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resnet_jax.errors import InputError
from resnet_jax.storage.files import read_text, write_text

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
    try:
        reader = csv.DictReader(io.StringIO(read_text(path)), strict=True)
        rows = list(reader)
        whole = all(row['step'].isdecimal() and None not in row.values() for row in rows)
        columns = tuple(reader.fieldnames or ())
        known = len(columns) >= _NUM_FIRST_COLUMNS and columns == METRICS_COLUMNS[: len(columns)]
        if not (known and whole):
            raise ValueError('other columns or a row that is cut short')
    except (csv.Error, KeyError, ValueError, AttributeError) as error:
        raise InputError(
            f'{path}: expected a table of {", ".join(METRICS_COLUMNS)}; found {error}. Fix or '
            'delete it; a new one will be created'
        ) from None
    return [dict.fromkeys(METRICS_COLUMNS, '') | row for row in rows]


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
