"""A sequence of numbers, such as a learning rate by epoch, as plain text."""

import itertools
import math
from collections.abc import Sequence

WIDTH, HEIGHT = 60, 10

MAX_RUNS = 12
"""Listed; of more, the first and last ones are."""

LOGARITHMIC_FROM = 20
"""Ratio of the largest to the smallest number from which on the axis is logarithmic."""


def is_logarithmic(values: Sequence[float]) -> bool:
    """Says whether numbers span so much that the small ones would not be seen."""
    positive = [value for value in values if value > 0]
    return bool(positive) and max(positive) >= LOGARITHMIC_FROM * min(positive)


def draw_steps(values: Sequence[float]) -> list[str]:
    """Returns lines of ASCII: a `*` for each of the numbers, or for each of 60 parts of them.

    Args:
      values: at least one, none negative; numbered from 1.
    """
    num_columns = min(len(values), WIDTH)
    shown = [values[i * len(values) // num_columns] for i in range(num_columns)]
    logarithmic = is_logarithmic(shown)
    floor = min((value for value in shown if value > 0), default=1.0)
    heights = [math.log(max(value, floor)) if logarithmic else value for value in shown]
    low, high = min(heights), max(heights)
    rows = [round((h - low) / ((high - low) or 1) * (HEIGHT - 1)) for h in heights]
    num_rows = max(rows) + 1
    labels = {num_rows - 1: f'{max(shown):.4g}', 0: f'{min(shown):.4g}'}
    margin = max(map(len, labels.values()))
    lines = [
        f'{labels.get(row, ""):>{margin}} |' + ''.join(' *'[r == row] for r in rows).rstrip()
        for row in reversed(range(num_rows))
    ]
    numbers = f'1{len(values):>{max(num_columns - 1, 1)}}' if len(values) > 1 else '1'
    scale = '  (logarithmic)' if logarithmic else ''
    return [*lines, f'{"":{margin}} +{"-" * num_columns}', f'{"":{margin}}  {numbers}{scale}']


def list_runs(values: Sequence[float]) -> list[str]:
    """Returns lines such as `1-10: 0.1`, one for each run of equal numbers, or some of them."""
    lines, first = [], 1
    for value, run in itertools.groupby(values):
        last = first + len(list(run)) - 1
        lines.append(f'{first if first == last else f"{first}-{last}"}: {value:.4g}')
        first = last + 1
    if len(lines) > MAX_RUNS:
        half = MAX_RUNS // 2
        lines = [*lines[:half], '...', *lines[-half:]]
    return lines
