"""Figure of the confusion matrix of one evaluation."""

import io
from collections.abc import Sequence
from typing import Any, cast

import datashader
import numpy as np
import pandas
import xarray
from datashader import transfer_functions
from matplotlib import colormaps, colors
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from resnet_jax.evaluation.confusion import ConfusionCounts
from resnet_jax.evaluation.confusion_files import SavedConfusion
from resnet_jax.reports.figures import class_axes, style
from resnet_jax.reports.figures.class_axes import BACKGROUND, INK, MUTED

SIZE = 1000
"""Side of the picture in px."""


def draw_confusion_matrix(
    saved: SavedConfusion, *, title: str, names: Sequence[str], order: np.ndarray, leading: str
) -> bytes:
    """Returns a PNG of 1000 x 1000 px: true classes in rows, predicted classes in columns.

    Args:
      saved: confusion of the evaluation.
      title: line of text below the epoch and the accuracies.
      names: names of the classes, in index order.
      order: int `[C]`, the classes from left to right and from top to bottom.
      leading: accuracy that comes first, 'top1' or 'top5'.
    """
    matrix = aggregate(saved.counts, order, round(MATRIX_SHARE * SIZE))
    image = draw_matrix(
        matrix,
        compute_highest(matrix),
        size=SIZE,
        title=write_title(saved, leading),
        subtitle=title,
        names=names,
        order=order,
    )
    file = io.BytesIO()
    image.save(file, 'PNG', optimize=True)
    return file.getvalue()


COLORS = tuple(colors.to_hex(colormaps['inferno'](0.38 + 0.62 * i / 63)) for i in range(64))
"""Colours from the fewest predictions to the most.

This is matplotlib's inferno without its darkest third, which looks like the background.
"""

MATRIX_SHARE = 0.87
"""Largest side of the matrix as a fraction of the picture's side; the rest is for title and labels.

Only a matrix with the names of its classes on both axes can be smaller.
"""

_MIN_CELL = 4
"""Smallest cell that is drawn as a square, in px; smaller cells are drawn as points."""

_MAX_POINTS = 2_000_000
"""Most predictions that get a point each. Of more, several share a point, to bound the memory."""

_FEW_CLASSES = 50
"""With fewer classes only the first prediction is drawn: five would fill much of every row."""


def choose_top_k(num_classes: int) -> int:
    """Returns how many predictions of each example are drawn: five, or one if classes are few."""
    return 5 if num_classes >= _FEW_CLASSES else 1


def aggregate(counts: ConfusionCounts, order: np.ndarray, size: int) -> xarray.DataArray:
    """Returns the number of predictions on each square or pixel, true classes in rows.

    Cells of four pixels or more become squares. In smaller cells each prediction becomes a point at
    a pseudo-random place in its cell, which is the same in every call. (Without it, 1000 classes
    on fewer pixels show stripes.)

    Args:
      counts: confusion counts of one evaluation; `choose_top_k` predictions of each example count.
      order: int `[C]`, the classes from left to right and from top to bottom.
      size: side of the matrix in px.

    Returns:
      float64 `[C, C]` for squares, `[size, size]` for points; nan where there is no prediction.
    """
    num_classes = counts.num_classes
    is_drawn = counts.rank < choose_top_k(num_classes)
    true, predicted, rank = counts.true[is_drawn], counts.predicted[is_drawn], counts.rank[is_drawn]
    count = counts.count[is_drawn]
    as_squares = num_classes * _MIN_CELL <= size
    max_copies = 2**32 if count.sum(dtype=np.int64) <= _MAX_POINTS else _MAX_POINTS // len(count)
    copies = np.minimum(count.astype(np.int64), 1 if as_squares else max(max_copies, 1))
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
    """Returns a pseudo-random place in [0, 1) for each uint64 (SplitMix, Steele et al. 2014)."""
    z = numbers * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)) / 2.0**53


def compute_highest(matrix: xarray.DataArray) -> float:
    """Returns the most predictions on any square or pixel; at least 2, as the scale starts at 1."""
    return float(np.nanmax(matrix.to_numpy(), initial=2))


def name_epoch(epoch: float) -> str:
    """Returns 'epoch 20', or 'as imported' for the weights of a run before its first step."""
    return f'epoch {epoch:g}' if epoch else 'as imported'


def write_title(saved: SavedConfusion, leading: str) -> str:
    """Returns the title of the picture: epoch and accuracies, the leading one first."""
    ranks = (1, 5) if leading == 'top1' else (5, 1)
    accuracies = (f'top-{k} {saved.counts.accuracy(k):.2%}' for k in ranks)
    return ' · '.join([name_epoch(saved.epoch), *accuracies])


def draw_matrix(
    matrix: xarray.DataArray,
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
      matrix: result of `aggregate`.
      highest: number of predictions that gets the brightest colour. The darkest colour stands for
        1; the scale is logarithmic.
      size: side of the whole picture in px; the side of the matrix is `MATRIX_SHARE` of it.
      title: large line of text in the upper left corner.
      subtitle: small line of text below the title.
      names: names of the classes, in index order.
      order: int `[C]`, the classes from left to right and from top to bottom.
    """
    figure = style.create_figure(size, size, BACKGROUND)
    layout = class_axes.lay_out(names, order, 1000 * MATRIX_SHARE)
    side = round(layout.side * size / 1000)
    left, bottom = round(0.97 * size) - side, round(0.008 * size)
    axes = figure.add_axes((left / size, bottom / size, side / size, side / size))
    axes.set_facecolor(BACKGROUND)
    extent = (0, len(order), len(order), 0)
    axes.imshow(_shade(matrix, highest), extent=extent, interpolation='nearest', aspect='auto')
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color('#343944')
    em = 0.72 * size / 1000  # a thousandth of the picture's side in points: 100 px are 72 points
    class_axes.label_axes(axes, names, order, layout, em=em)
    if layout.names:
        _write_counts(axes, matrix, highest, min(46, 0.4 * layout.side / len(order)) * em)
    words: dict[str, Any] = {'color': INK, 'fontsize': 30 * em, 'fontweight': 'bold', 'va': 'top'}
    style.write_line(figure, 0.012, 0.99, title, 0.99, **words)
    words = {'color': MUTED, 'fontsize': 18 * em, 'va': 'top'}
    style.write_line(figure, 0.012, 0.951, subtitle, 0.69, **words)
    _draw_scale(figure, f'{highest:,.0f} a {"cell" if len(matrix) == len(order) else "pixel"}', em)
    canvas = cast(FigureCanvasAgg, figure.canvas)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def _shade(matrix: xarray.DataArray, highest: float) -> np.ndarray:
    """Returns RGBA, uint8 `[rows, columns, 4]`, transparent where there is no prediction."""
    image = transfer_functions.shade(matrix, cmap=list(COLORS), how='log', span=(1, highest))
    return np.asarray(image.to_pil(origin='upper'))


def _draw_scale(figure: Figure, highest: str, em: float) -> None:
    """Draws the colour scale from 1 to the number in `highest`."""
    axes = figure.add_axes((0.74, 0.937, 0.12, 0.013))
    axes.imshow(np.arange(len(COLORS))[None], cmap=colors.ListedColormap(COLORS), aspect='auto')
    axes.set_axis_off()
    words: dict[str, Any] = {'color': MUTED, 'fontsize': 16 * em, 'va': 'center'}
    figure.text(0.733, 0.9425, '1', ha='right', **words)
    style.write_line(figure, 0.867, 0.9425, highest, 0.99, ha='left', **words)


def _write_counts(axes: Axes, matrix: xarray.DataArray, highest: float, size: float) -> None:
    """Writes each count into its cell, in a dark colour if the cell is bright.

    Args:
      axes: axes of the matrix.
      matrix: result of `aggregate`, with a number for each cell.
      highest: number that gets the brightest colour.
      size: size of the font in points, for numbers of up to three digits.
    """
    size *= min(1, 3.5 / len(f'{highest:.0f}'))
    for (row, column), count in np.ndenumerate(matrix.to_numpy()):
        if count > 0:
            color = BACKGROUND if np.log1p(count) > 0.6 * np.log1p(highest) else INK
            words: dict[str, Any] = {'color': color, 'fontsize': size}
            axes.text(column + 0.5, row + 0.5, f'{count:.0f}', ha='center', va='center', **words)
