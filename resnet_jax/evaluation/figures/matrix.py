"""A confusion matrix of any size as a bright picture on a dark square; for one frame or many."""

from collections.abc import Sequence

import datashader
import numpy as np
import pandas
import xarray
from datashader import transfer_functions
from matplotlib import colormaps, colors, patheffects
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from PIL import Image

from resnet_jax.data.class_groups import Group, find_groups, split_name
from resnet_jax.evaluation.confusion import ConfusionCounts
from resnet_jax.evaluation.figures import style

BACKGROUND = '#07080d'
INK = '#f2f3f5'
MUTED = '#b4bac4'

COLORS = tuple(colors.to_hex(colormaps['inferno'](0.3 + 0.7 * i / 63)) for i in range(64))
"""From few predictions to most: matplotlib's inferno without its darkest part, which one could not
tell from the background."""

MATRIX_SHARE = 0.87
"""Of the picture's width and height; the rest is for the title and the axes."""

_MIN_CELL = 4
"""Pixels from which on a cell is drawn as a square; smaller ones as points."""

_MAX_POINTS = 64
"""Points that a cell's count is spread over at most, so that no count takes memory at will."""

_MAX_NAMED = 30
"""Classes that fit along an axis by name."""


def aggregate(counts: ConfusionCounts, order: np.ndarray, size: int) -> xarray.DataArray:
    """Returns the predictions that fall on each pixel, float64, rows true; nan where none.

    Cells of four pixels and more become squares: the result is `[C, C]`. Of smaller ones each
    prediction is a point, at a place in its cell that is always the same (1000 classes on fewer
    pixels would show stripes otherwise): `[size, size]`.

    Args:
      counts: of one evaluation.
      order: int `[C]`, the classes from the left and from the top.
      size: of the matrix in pixels.
    """
    num_classes = counts.num_classes
    as_squares = num_classes * _MIN_CELL <= size
    copies = np.minimum(counts.count, 1 if as_squares else _MAX_POINTS).astype(np.int64)
    place = np.empty(num_classes, np.int64)
    place[order] = np.arange(num_classes)
    cell = np.repeat(counts.true.astype(np.uint64) * num_classes + counts.predicted, copies)
    number = np.arange(len(cell)) - np.repeat(np.cumsum(copies) - copies, copies)
    spot = (cell << np.uint64(9)) + number.astype(np.uint64) + np.repeat(counts.rank, copies) * 64
    points = pandas.DataFrame(
        {
            'predicted': np.repeat(place[counts.predicted], copies) + _scatter(2 * spot),
            'true': np.repeat(place[counts.true], copies) + _scatter(2 * spot + 1),
            'count': np.repeat(counts.count / copies, copies),
        }
    )
    pixels = num_classes if as_squares else size
    canvas = datashader.Canvas(pixels, pixels, (0, num_classes), (0, num_classes))
    return canvas.points(points, 'predicted', 'true', datashader.sum('count'))


def _scatter(numbers: np.ndarray) -> np.ndarray:
    """Returns for each uint64 a place in [0, 1) that looks random (Steele et al. 2014, SplitMix)."""
    z = numbers * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)) / 2.0**53


def compute_highest(found: xarray.DataArray) -> float:
    """Returns the most predictions on any pixel; 1 where there are none."""
    return float(np.nanmax(found.to_numpy(), initial=1))


def draw_matrix(
    found: xarray.DataArray,
    highest: float,
    *,
    size: int,
    title: str,
    subtitle: str,
    names: Sequence[str],
    order: np.ndarray,
) -> Image.Image:
    """Returns the picture, RGB.

    Args:
      found: from `aggregate`.
      highest: what the brightest colour stands for; the scale is logarithmic.
      size: of the whole picture in pixels, of which the matrix has `MATRIX_SHARE`.
      title: large, in the upper left corner.
      subtitle: below it.
      names: of the classes, in index order.
      order: as for `aggregate`.
    """
    figure = style.create_figure(size, size, BACKGROUND)
    side = round(MATRIX_SHARE * size)
    left, bottom = round(0.1 * size), round(0.008 * size)
    axes = figure.add_axes((left / size, bottom / size, side / size, side / size))
    axes.set_facecolor(BACKGROUND)
    extent = (0, len(order), len(order), 0)
    axes.imshow(_shade(found, highest), extent=extent, interpolation='nearest', aspect='auto')
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color('#343944')
    em = 0.72 * size / 1000  # points of a pixel in a picture of 1000
    _label(axes, names, order, em)
    figure.text(0.012, 0.99, title, color=INK, fontsize=32 * em, fontweight='bold', va='top')
    figure.text(0.012, 0.95, subtitle, color=MUTED, fontsize=19 * em, va='top')
    scale = figure.add_axes((0.72, 0.963, 0.13, 0.016))
    scale.imshow(np.arange(64)[None], cmap=colors.ListedColormap(COLORS), aspect='auto')
    scale.set_axis_off()
    per = 'cell' if found.shape[0] == len(order) else 'pixel'
    words = {'color': MUTED, 'fontsize': 17 * em, 'va': 'center'}
    figure.text(0.712, 0.97, '1', ha='right', **words)
    figure.text(0.858, 0.97, f'{highest:,.0f} a {per}', ha='left', **words)
    figure.canvas.draw()
    return Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3].copy())


def _shade(found: xarray.DataArray, highest: float) -> np.ndarray:
    """Returns uint8 `[pixels, pixels, 4]`, transparent where nothing is."""
    span = (0.5, max(highest, 1.5))
    image = transfer_functions.shade(found, cmap=list(COLORS), how='log', span=span)
    return np.asarray(image.to_pil(origin='upper'))


def _label(axes: Axes, names: Sequence[str], order: np.ndarray, em: float) -> None:
    """Writes groups, names or numbers along both axes, whichever fit."""
    number = len(order)
    known = len(names) == number
    in_order = [names[i] for i in order] if known else []
    coarse, dogs = find_groups(in_order)
    corner = {'transform': axes.transAxes, 'color': MUTED, 'fontsize': 16 * em, 'ha': 'right'}
    axes.text(-0.02, 1.022, 'predicted →', **corner)
    axes.text(-0.02, 0.998, 'true ↓', **corner)
    if coarse:
        for group in coarse:
            _bracket(axes, group, number, em)
        for group in dogs:
            _frame(axes, group, number, em)
        return
    if number <= _MAX_NAMED:
        places = np.arange(number) + 0.5
        words = [_shorten(split_name(name)[1]) for name in in_order] or [str(i) for i in order]
    else:
        places = np.arange(0, number, 10 ** int(np.log10(number / 2)))
        words = [str(order[i]) for i in places]
    axes.set_yticks(places, words)
    axes.set_xticks(places, words, rotation=90 if max(map(len, words)) > 3 else 0)
    axes.xaxis.tick_top()
    axes.tick_params(colors=INK, labelsize=17 * em, length=0, pad=5 * em)


def _bracket(axes: Axes, group: Group, number: int, em: float) -> None:
    """Draws a line along a group on both axes, and its name where there is room."""
    start, stop = group.start / number, group.stop / number
    line = {'transform': axes.transAxes, 'clip_on': False, 'color': MUTED, 'linewidth': 2.5 * em}
    line |= {'solid_capstyle': 'butt'}
    gap = 0.0015
    axes.plot((start + gap, stop - gap), (1.011, 1.011), **line)
    axes.plot((-0.011, -0.011), (1 - start - gap, 1 - stop + gap), **line)
    height = min(24, (stop - start) * MATRIX_SHARE * 1000 / (0.62 * len(group.name)))
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


def _shorten(words: str, length: int = 10) -> str:
    return words if len(words) <= length else f'{words[: length - 1]}…'
