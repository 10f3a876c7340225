"""Axis labels of a confusion matrix: names, groups or index numbers of classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from resnet_jax.data.class_names import split_name
from resnet_jax.data.taxonomy import Group, find_groups

BACKGROUND = '#07080d'
INK = '#f2f3f5'
MUTED = '#b4bac4'

MAX_NAMED = 30
"""Most classes whose names fit along an axis and whose cells have room for a number."""

_LETTER = 0.62
"""Width of a letter as a fraction of the height of its font."""


def label_axes(
    axes: Axes, names: Sequence[str], order: np.ndarray, *, side: float, em: float
) -> None:
    """Writes the labels that fit along both axes.

    Up to `MAX_NAMED` classes are labelled with their names. More classes are labelled with their
    groups if they have synset ids, else with their numbers if they are in index order.

    Args:
      axes: axes of the matrix, from 0 to the number of classes, rows from top to bottom.
      names: names of the classes, in index order.
      order: int `[C]`, the classes from left to right and from top to bottom.
      side: side of the matrix, in thousandths of the picture's side.
      em: size in points of a font whose height is one thousandth of the picture's side.
    """
    number = len(order)
    words: dict[str, Any] = {'transform': axes.transAxes, 'color': MUTED, 'fontsize': 14.5 * em}
    axes.text(-0.007, 1.022, 'predicted →', ha='right', **words)
    axes.text(-0.02, 1.001, 'true ↓', ha='right', **words)
    in_order = [names[i] for i in order]
    coarse, dogs = find_groups(in_order)
    if number <= MAX_NAMED:
        _write_names(axes, [split_name(name)[1] for name in in_order], side, em)
    elif coarse:
        for group in coarse:
            _bracket(axes, group, number, side, em)
        for group in dogs:
            _frame(axes, group, number, em)
    elif np.array_equal(order, np.arange(number)):
        ticks = MaxNLocator(8, integer=True, steps=(1, 2, 5, 10)).tick_values(0, number - 1)
        shown = [int(tick) for tick in ticks if 0 <= tick < number]
        labels = [str(index) for index in shown]
        _set_ticks(axes, np.add(shown, 0.5), labels, labels, 17 * em, 17 * em)


def _write_names(axes: Axes, names: Sequence[str], side: float, em: float) -> None:
    """Writes the name of each row, and of each column if there is room.

    Otherwise columns are labelled with numbers, and rows with the same numbers and their names.
    """
    longest = max(len(name) for name in names)
    cell = side / len(names)
    places = np.arange(len(names)) + 0.5
    across = min(24, cell / (_LETTER * longest))
    rows, columns = list(names), list(names)
    if across < 12:
        rows = [f'{i} {name}' for i, name in enumerate(names)]
        columns = [str(i) for i in range(len(names))]
        across = min(20, 0.8 * cell)
    rows = [name if len(name) <= 13 else f'{name[:12]}…' for name in rows]
    down = min(24, 0.8 * cell, 92 / (_LETTER * max(len(name) for name in rows)))
    _set_ticks(axes, places, rows, columns, down * em, across * em)


def _set_ticks(
    axes: Axes,
    places: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    down: float,
    across: float,
) -> None:
    """Labels rows and columns.

    Args:
      axes: axes of the matrix.
      places: float64 `[N]`, positions of the labels on both axes.
      rows: N labels of rows.
      columns: N labels of columns.
      down: font size of the labels of rows, in points.
      across: font size of the labels of columns, in points.
    """
    axes.set_yticks(places, rows)
    axes.set_xticks(places, columns)
    axes.xaxis.tick_top()
    axes.tick_params(colors=INK, length=0, pad=0.2 * down)
    axes.tick_params(axis='x', labelsize=across)
    axes.tick_params(axis='y', labelsize=down)


def _bracket(axes: Axes, group: Group, number: int, side: float, em: float) -> None:
    """Draws a line along a group on both axes, and writes its name if there is room."""
    start, stop = group.start / number, group.stop / number
    line: dict[str, Any] = {'transform': axes.transAxes, 'clip_on': False, 'color': MUTED}
    line |= {'linewidth': 2.5 * em, 'solid_capstyle': 'butt'}
    gap = 0.0015
    axes.plot((start + gap, stop - gap), (1.011, 1.011), **line)
    axes.plot((-0.011, -0.011), (1 - start - gap, 1 - stop + gap), **line)
    height = min(24, (stop - start) * side / (_LETTER * len(group.name)))
    if height < 15:
        return
    middle = (start + stop) / 2
    words: dict[str, Any] = {'transform': axes.transAxes, 'color': INK, 'fontsize': height * em}
    axes.text(middle, 1.02, group.name, ha='center', va='bottom', **words)
    axes.text(-0.02, 1 - middle, group.name, ha='right', va='center', rotation=90, **words)


def _frame(axes: Axes, group: Group, number: int, em: float) -> None:
    """Draws a frame around the block of a group on the diagonal, with its name to the right."""
    length = group.stop - group.start
    if length < 0.05 * number:
        return
    corner = (group.start, group.start)
    axes.add_patch(
        Rectangle(corner, length, length, fill=False, edgecolor=INK, linewidth=em, alpha=0.8)
    )
    stroke = [patheffects.withStroke(linewidth=4 * em, foreground=BACKGROUND)]
    left = group.stop + 0.006 * number
    words: dict[str, Any] = {'color': INK, 'fontsize': 19 * em, 'path_effects': stroke}
    axes.text(left, group.start, group.name, va='top', **words)
