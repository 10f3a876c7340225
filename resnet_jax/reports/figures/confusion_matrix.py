"""The confusion matrix of one evaluation."""

import io
from collections.abc import Sequence

import datashader
import numpy as np
import pandas
import xarray
from datashader import transfer_functions
from matplotlib import colormaps, colors
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from resnet_jax.evaluation.confusion import ConfusionCounts
from resnet_jax.evaluation.confusion_files import SavedConfusion
from resnet_jax.reports.figures import class_axes, style
from resnet_jax.reports.figures.class_axes import BACKGROUND, INK, MUTED

SIZE = 1000


def draw_confusion_matrix(
    saved: SavedConfusion, *, title: str, names: Sequence[str], order: np.ndarray
) -> bytes:
    """Returns a PNG of 1000 x 1000 pixels: rows true, columns each of the predictions.

    Args:
      saved: the evaluation.
      title: below epoch and accuracies.
      names: of the classes, in index order.
      order: int `[C]`, the classes from the left and from the top.
    """
    found = aggregate(saved.counts, order, round(MATRIX_SHARE * SIZE))
    image = draw_matrix(
        found,
        compute_highest(found),
        size=SIZE,
        title=write_title(saved),
        subtitle=title,
        names=names,
        order=order,
    )
    file = io.BytesIO()
    image.save(file, 'PNG', optimize=True)
    return file.getvalue()


COLORS = tuple(colors.to_hex(colormaps['inferno'](0.38 + 0.62 * i / 63)) for i in range(64))
"""From few predictions to most: matplotlib's inferno without its darkest third, which one could not
tell from the background."""


MATRIX_SHARE = 0.87
"""Of the picture's width and height; the rest is for the title and the axes."""


_MIN_CELL = 4
"""Pixels from which on a cell is drawn as a square; smaller ones as points."""


_MAX_POINTS = 2_000_000
"""Of more predictions than these, several share a point, so that no count takes memory at will."""


_FEW_CLASSES = 50
"""Below so many, five predictions would fill much of every row: only the first is drawn."""


def choose_top_k(num_classes: int) -> int:
    """Returns how many predictions of each example are drawn: five, or one of few classes."""
    return 5 if num_classes >= _FEW_CLASSES else 1


def aggregate(counts: ConfusionCounts, order: np.ndarray, size: int) -> xarray.DataArray:
    """Returns the predictions that fall on each pixel, float64, rows true; nan where none.

    Cells of four pixels and more become squares: the result is `[C, C]`. Of smaller ones each
    prediction is a point, at a place in its cell that is always the same (1000 classes on fewer
    pixels would show stripes otherwise): `[size, size]`.

    Args:
      counts: of one evaluation, of which `choose_top_k` predictions are taken.
      order: int `[C]`, the classes from the left and from the top.
      size: of the matrix in pixels.
    """
    num_classes = counts.num_classes
    drawn = counts.rank < choose_top_k(num_classes)
    true, predicted, rank = counts.true[drawn], counts.predicted[drawn], counts.rank[drawn]
    count = counts.count[drawn]
    as_squares = num_classes * _MIN_CELL <= size
    most = 2**32 if count.sum(dtype=np.int64) <= _MAX_POINTS else _MAX_POINTS // len(count)
    copies = np.minimum(count.astype(np.int64), 1 if as_squares else max(most, 1))
    place = np.empty(num_classes, np.int64)
    place[order] = np.arange(num_classes)
    cell = np.repeat(true.astype(np.uint64) * num_classes + predicted, copies)
    number = np.arange(len(cell)) - np.repeat(np.cumsum(copies) - copies, copies)
    spot = (cell << np.uint64(28)) + number.astype(np.uint64)
    spot += np.repeat(rank, copies).astype(np.uint64) << np.uint64(24)
    points = pandas.DataFrame(
        {
            'predicted': np.repeat(place[predicted], copies) + _scatter(2 * spot),
            'true': np.repeat(place[true], copies) + _scatter(2 * spot + 1),
            'count': np.repeat(count / copies, copies),
        }
    )
    pixels = num_classes if as_squares else size
    canvas = datashader.Canvas(pixels, pixels, (0, num_classes), (0, num_classes))
    return canvas.points(points, 'predicted', 'true', datashader.sum('count'))


def _scatter(numbers: np.ndarray) -> np.ndarray:
    """Returns for each uint64 a random-looking place in [0, 1) (Steele et al. 2014, SplitMix)."""
    z = numbers * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)) / 2.0**53


def compute_highest(found: xarray.DataArray) -> float:
    """Returns the most predictions on any pixel, at least 2: a scale has two ends."""
    return float(np.nanmax(found.to_numpy(), initial=2))


def write_title(saved: SavedConfusion) -> str:
    """Returns epoch and accuracies, for the upper left corner."""
    counts = saved.counts
    return (
        f'epoch {saved.epoch:g} · top-5 {counts.accuracy(5):.2%} · top-1 {counts.accuracy(1):.2%}'
    )


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
      highest: what the brightest colour stands for, the darkest being 1; the scale is logarithmic.
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
    class_axes.label_axes(axes, names, order, side=1000 * MATRIX_SHARE, em=em)
    if len(order) <= class_axes.MAX_NAMED:
        _write_counts(axes, found, highest, em)
    figure.text(0.012, 0.99, title, color=INK, fontsize=30 * em, fontweight='bold', va='top')
    figure.text(0.012, 0.951, subtitle, color=MUTED, fontsize=18 * em, va='top')
    _draw_scale(figure, f'{highest:,.0f} a {"cell" if len(found) == len(order) else "pixel"}', em)
    figure.canvas.draw()
    return Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3].copy())


def _shade(found: xarray.DataArray, highest: float) -> np.ndarray:
    """Returns uint8 `[pixels, pixels, 4]`, transparent where nothing is."""
    image = transfer_functions.shade(found, cmap=list(COLORS), how='log', span=(1, highest))
    return np.asarray(image.to_pil(origin='upper'))


def _draw_scale(figure: Figure, most: str, em: float) -> None:
    axes = figure.add_axes((0.74, 0.937, 0.12, 0.013))
    axes.imshow(np.arange(len(COLORS))[None], cmap=colors.ListedColormap(COLORS), aspect='auto')
    axes.set_axis_off()
    words = {'color': MUTED, 'fontsize': 16 * em, 'va': 'center'}
    figure.text(0.733, 0.9425, '1', ha='right', **words)
    figure.text(0.867, 0.9425, most, ha='left', **words)


def _write_counts(axes: Axes, found: xarray.DataArray, highest: float, em: float) -> None:
    """Writes each count into its cell, dark on bright ones."""
    height = min(26, 0.4 * MATRIX_SHARE * 1000 / len(found))
    for (row, column), count in np.ndenumerate(found.to_numpy()):
        if count > 0:
            color = BACKGROUND if np.log1p(count) > 0.6 * np.log1p(highest) else INK
            words = {'color': color, 'fontsize': height * em, 'ha': 'center', 'va': 'center'}
            axes.text(column + 0.5, row + 0.5, f'{count:.0f}', **words)
