"""What stands along the axes of a confusion matrix: names, groups or numbers of classes."""

from collections.abc import Sequence

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
"""Classes that fit along an axis by name, and whose cells have room for a number."""

_LETTER = 0.62
"""The width of a letter, by the height of its font."""


def label_axes(
    axes: Axes, names: Sequence[str], order: np.ndarray, *, side: float, em: float
) -> None:
    """Writes what fits along both axes.

    Few classes get their names, those with synset ids their groups, others numbers if they are in
    index order.

    Args:
      axes: of the matrix, from 0 to the number of classes both ways, downwards.
      names: of the classes, in index order.
      order: int `[C]`, the classes from the left and from the top.
      side: of the matrix, where the picture is 1000.
      em: points of the font that is 1 high there.
    """
    number = len(order)
    corner = {'transform': axes.transAxes, 'color': MUTED, 'fontsize': 14.5 * em, 'ha': 'right'}
    axes.text(-0.007, 1.022, 'predicted →', **corner)
    axes.text(-0.02, 1.001, 'true ↓', **corner)
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
        places = MaxNLocator(8, integer=True, steps=(1, 2, 5, 10)).tick_values(0, number - 1)
        places = [int(place) for place in places if 0 <= place < number]
        words = [str(place) for place in places]
        _set_ticks(axes, np.add(places, 0.5), words, words, 17 * em, 17 * em)


def _write_names(axes: Axes, names: Sequence[str], side: float, em: float) -> None:
    """Writes a name for each row, and for each column if there is room; else numbers for both."""
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
    places: Sequence[float],
    rows: Sequence[str],
    columns: Sequence[str],
    down: float,
    across: float,
) -> None:
    axes.set_yticks(places, rows)
    axes.set_xticks(places, columns)
    axes.xaxis.tick_top()
    axes.tick_params(colors=INK, length=0, pad=0.2 * down)
    axes.tick_params(axis='x', labelsize=across)
    axes.tick_params(axis='y', labelsize=down)


def _bracket(axes: Axes, group: Group, number: int, side: float, em: float) -> None:
    """Draws a line along a group on both axes, and its name where there is room."""
    start, stop = group.start / number, group.stop / number
    line = {'transform': axes.transAxes, 'clip_on': False, 'color': MUTED, 'linewidth': 2.5 * em}
    line |= {'solid_capstyle': 'butt'}
    gap = 0.0015
    axes.plot((start + gap, stop - gap), (1.011, 1.011), **line)
    axes.plot((-0.011, -0.011), (1 - start - gap, 1 - stop + gap), **line)
    height = min(24, (stop - start) * side / (_LETTER * len(group.name)))
    if height < 15:
        return
    middle = (start + stop) / 2
    words = {'transform': axes.transAxes, 'color': INK, 'fontsize': height * em}
    axes.text(middle, 1.02, group.name, ha='center', va='bottom', **words)
    axes.text(-0.02, 1 - middle, group.name, ha='right', va='center', rotation=90, **words)


def _frame(axes: Axes, group: Group, number: int, em: float) -> None:
    """Draws a frame around a group's own block, with its name beside it."""
    length = group.stop - group.start
    if length < 0.05 * number:
        return
    corner = (group.start, group.start)
    axes.add_patch(
        Rectangle(corner, length, length, fill=False, edgecolor=INK, linewidth=em, alpha=0.8)
    )
    stroke = [patheffects.withStroke(linewidth=4 * em, foreground=BACKGROUND)]
    place = (group.stop + 0.006 * number, group.start)
    words = {'color': INK, 'fontsize': 19 * em, 'va': 'top', 'path_effects': stroke}
    axes.text(*place, group.name, **words)
