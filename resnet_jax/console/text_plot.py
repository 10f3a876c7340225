"""Plots in plain text of a sequence of numbers, such as the learning rate of each epoch."""

import itertools
import math
from collections.abc import Sequence

WIDTH, HEIGHT = 60, 10
"""Largest size of a plot, in columns and lines."""

MAX_RUNS = 12
"""Largest number of listed runs; of more runs, the first and the last ones are listed."""

LOGARITHMIC_FROM = 20
"""Smallest ratio of largest to smallest number for which the axis is logarithmic."""


def is_logarithmic(values: Sequence[float]) -> bool:
    """Returns whether the range is so wide that a linear axis hides the small numbers."""
    positive = [value for value in values if value > 0]
    return bool(positive) and max(positive) >= LOGARITHMIC_FROM * min(positive)


def draw_steps(values: Sequence[float]) -> list[str]:
    """Returns the lines of an ASCII plot with one `*` per column.

    If there are more than `WIDTH` numbers, each column stands for an equal part of them and shows
    the first number of that part.

    Args:
      values: at least one number, none of them negative. The plot numbers them from 1.
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
    """Returns lines such as `1-10: 0.1`, one for each run of equal numbers.

    Of more than `MAX_RUNS` runs, only the first and the last ones are listed, with `...` between.
    """
    lines, first = [], 1
    for value, run in itertools.groupby(values):
        last = first + len(list(run)) - 1
        lines.append(f'{first if first == last else f"{first}-{last}"}: {value:.4g}')
        first = last + 1
    if len(lines) > MAX_RUNS:
        half = MAX_RUNS // 2
        lines = [*lines[:half], '...', *lines[-half:]]
    return lines
