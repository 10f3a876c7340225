"""Axis labels of a confusion matrix: names, groups or index numbers of classes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.textpath import text_to_path
from matplotlib.ticker import MaxNLocator

from resnet_jax.data.class_names import split_name
from resnet_jax.data.taxonomy import Group, find_groups

BACKGROUND = '#07080d'
INK = '#f2f3f5'
MUTED = '#b4bac4'

MAX_NAMED = 30
"""Most classes whose names fit along an axis and whose cells have room for a number."""

_LETTER = 0.62
"""Usual width of a letter as a fraction of the height of its font."""

_MAX_LETTERS = 18
"""Longer names are cut."""


class Layout(NamedTuple):
    """Place of a matrix in its picture. Lengths are in thousandths of the picture's side.

    The right and the lower margin are always the same.

    Attributes:
      side: side of the matrix.
      names: names along both axes, in the order of the classes; empty if there are too many.
      height: height of the font of the names.
      rotated: whether the names of columns are written upwards, because they are too wide.
    """

    side: float
    names: Sequence[str]
    height: float
    rotated: bool


def lay_out(names: Sequence[str], order: np.ndarray, side: float) -> Layout:
    """Returns the layout with the largest names that fit.

    Args:
      names: names of the classes, in index order.
      order: int `[C]`, the classes from left to right and from top to bottom.
      side: largest side of the matrix, which it has unless names need the room.
    """
    if len(order) > MAX_NAMED:
        return Layout(side, (), 0, False)
    short = [shorten_name(names[i]) for i in order]
    longest = max(_LETTER, *map(_measure, short))  # width of a name in heights of the font
    height = min(34, 0.7 * side / len(order), 190 / longest)
    width = longest * height
    rotated = width > 0.9 * (side - width) / len(order)
    room_above = side - (width if rotated else 1.2 * height) + 36  # below title and subtitle
    return Layout(min(side, room_above, side + 76 - width), short, height, rotated)


def _measure(word: str) -> float:
    """Returns the width of a word in heights of its font; a little more, as drawn letters vary."""
    size = 10
    font = FontProperties(size=size)
    return 1.03 * text_to_path.get_text_width_height_descent(word, font, ismath=False)[0] / size


def shorten_name(name: str) -> str:
    """Returns the words of a name up to the first comma, at most 18 letters.

    'n02123045 tabby, tabby cat' gives 'tabby'.
    """
    words = split_name(name)[1]
    first = words.partition(',')[0].strip() or words
    return first if len(first) <= _MAX_LETTERS else f'{first[: _MAX_LETTERS - 1]}…'


def label_axes(
    axes: Axes, names: Sequence[str], order: np.ndarray, layout: Layout, *, em: float
) -> None:
    """Writes the labels that fit along both axes.

    Up to `MAX_NAMED` classes are labelled with their names. More classes are labelled with their
    groups if they have synset ids, else with their numbers if they are in index order.

    Args:
      axes: axes of the matrix, from 0 to the number of classes, rows from top to bottom.
      names: names of the classes, in index order.
      order: int `[C]`, the classes from left to right and from top to bottom.
      layout: result of `lay_out`.
      em: size in points of a font whose height is one thousandth of the picture's side.
    """
    number = len(order)
    words: dict[str, Any] = {'transform': axes.transAxes, 'color': MUTED, 'fontsize': 14.5 * em}
    axes.text(-0.007, 1.022, 'predicted →', ha='right', **words)
    axes.text(-0.02, 1.001, 'true ↓', ha='right', **words)
    if layout.names:
        rotation = 90 if layout.rotated else 0
        _set_ticks(axes, np.arange(number) + 0.5, layout.names, layout.height * em, rotation)
        return
    coarse, dogs = find_groups([names[i] for i in order])
    if coarse:
        for group in coarse:
            _bracket(axes, group, number, layout.side, em)
        for group in dogs:
            _frame(axes, group, number, em)
    elif np.array_equal(order, np.arange(number)):
        ticks = MaxNLocator(8, integer=True, steps=(1, 2, 5, 10)).tick_values(0, number - 1)
        shown = [int(tick) for tick in ticks if 0 <= tick < number]
        _set_ticks(axes, np.add(shown, 0.5), [str(index) for index in shown], 17 * em)


def _set_ticks(
    axes: Axes, places: np.ndarray, labels: Sequence[str], size: float, rotation: float = 0
) -> None:
    """Labels rows and columns.

    Args:
      axes: axes of the matrix.
      places: float64 `[N]`, positions of the labels on both axes.
      labels: N labels.
      size: size of their font, in points.
      rotation: angle of the labels of columns, in degrees.
    """
    axes.set_yticks(places, labels)
    axes.set_xticks(places, labels, rotation=rotation)
    axes.xaxis.tick_top()
    axes.tick_params(colors=INK, length=0, pad=0.2 * size, labelsize=size)


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
