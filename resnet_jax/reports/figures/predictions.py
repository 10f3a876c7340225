"""Figure of images, each with bars for the probabilities of its predicted classes."""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from resnet_jax.data.class_names import split_name
from resnet_jax.reports.figures import style
from resnet_jax.types import Prediction

IMAGE_SIDE = 360
"""Side of the square into which each image is fitted, in px."""

MAX_IMAGES = 100
"""Most images in one figure; matplotlib and most viewers cannot handle a larger figure."""

_CELL_WIDTH, _CELL_HEIGHT = 1240, 460
_MARGIN = 40
_BARS_LEFT = _MARGIN + IMAGE_SIDE + 44
_BARS_WIDTH = _CELL_WIDTH - _BARS_LEFT - _MARGIN
_ROW_HEIGHT = IMAGE_SIDE // 5
_BAR_HEIGHT = 18
_PERCENT_WIDTH = 110
_GAP = 20
_THEME = style.LIGHT


class PredictedImage(NamedTuple):
    """An image and its predictions.

    Attributes:
      name: name of the image, written below it.
      pixels: uint8 `[H, W, 3]`, RGB.
      predictions: predicted classes, most probable first; at most five are drawn.
    """

    name: str
    pixels: np.ndarray
    predictions: Sequence[Prediction]


def draw_predictions(images: Sequence[PredictedImage]) -> bytes:
    """Returns a PNG with a cell for each image, in two columns if there are more than three.

    Args:
      images: from 1 to `MAX_IMAGES` images.
    """
    num_columns = 1 if len(images) <= 3 else 2
    num_rows = -(-len(images) // num_columns)
    width, height = num_columns * _CELL_WIDTH, num_rows * _CELL_HEIGHT
    figure = style.create_figure(width, height, _THEME.background)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis('off')
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Glyph .* missing')  # a letter of a file name
        for i, image in enumerate(images):
            row, column = divmod(i, num_columns)
            _draw_image(axes, image, column * _CELL_WIDTH, row * _CELL_HEIGHT)
            for rank, prediction in enumerate(image.predictions[:5]):
                left = column * _CELL_WIDTH + _BARS_LEFT
                top = row * _CELL_HEIGHT + _MARGIN + rank * _ROW_HEIGHT
                _draw_bar(axes, prediction, rank, left, top)
        axes.set(xlim=(0, width), ylim=(height, 0), aspect='auto')
        return style.to_png(figure)


def _draw_image(axes: Axes, image: PredictedImage, left: int, top: int) -> None:
    """Draws an image as large as its square allows and centred in it, and its name below."""
    height, width = image.pixels.shape[:2]
    scale = IMAGE_SIDE / max(height, width)
    height, width = round(height * scale), round(width * scale)
    left += _MARGIN + (IMAGE_SIDE - width) // 2
    top += _MARGIN + (IMAGE_SIDE - height) // 2
    axes.imshow(
        image.pixels,
        extent=(left, left + max(width, 1), top + max(height, 1), top),
        interpolation='nearest' if scale > 2 else 'auto',
    )
    middle, below = left + width / 2, top + height + 10
    _write(axes, middle, below, image.name, IMAGE_SIDE, size=12, color=_THEME.muted, ha='center')


def _draw_bar(axes: Axes, prediction: Prediction, rank: int, left: int, top: int) -> None:
    """Draws a predicted class: its name, its id and its probability, and a bar below them."""
    key, words = split_name(prediction.name)
    right = left + _BARS_WIDTH
    room: float = _BARS_WIDTH - _PERCENT_WIDTH - _GAP
    strong = {'color': _THEME.ink, 'fontweight': 'bold' if rank == 0 else 'normal'}
    percent = f'{prediction.probability:.1%}'
    _write(axes, right, top, percent, _PERCENT_WIDTH, size=16, ha='right', **strong)
    if key != words:
        key_right = right - _PERCENT_WIDTH - _GAP
        key_width = _write(
            axes, key_right, top + 4, key, room, size=12, color=_THEME.muted, ha='right'
        )
        room -= key_width + _GAP
    _write(axes, left, top, words, room, size=16, ha='left', **strong)
    top += 36
    filled = _BARS_WIDTH * min(max(prediction.probability, 0.0), 1.0)
    axes.add_patch(Rectangle((left, top), _BARS_WIDTH, _BAR_HEIGHT, color=_THEME.grid, lw=0))
    alpha = 1.0 if rank == 0 else 0.55
    axes.add_patch(
        Rectangle((left, top), filled, _BAR_HEIGHT, color=_THEME.series[0], alpha=alpha, lw=0)
    )


def _write(
    axes: Axes, x: float, y: float, text: str, room: float, *, size: float, **style_of_text: Any
) -> float:
    """Writes a line of text; shortens it with an ellipsis if it is too wide.

    Args:
      axes: axes of the whole figure, in px.
      x: horizontal position; what it refers to depends on `ha`.
      y: position of the top of the text.
      text: text to write.
      room: largest width of the text, in px.
      size: font size in points.
      **style_of_text: other properties of a matplotlib text, such as `color` and `ha`.

    Returns:
      The width of the text that was written, in px.
    """
    text = ''.join(character if character.isprintable() else '?' for character in text)
    written = axes.text(
        x, y, text, fontsize=size, va='top', parse_math=False, clip_on=False, **style_of_text
    )
    fits, too_long = 0, len(text)  # numbers of characters; a binary search brings them together
    if _width(written) > room:
        while too_long - fits > 1:
            middle = (fits + too_long) // 2
            written.set_text(text[:middle].rstrip(' ,') + '…')
            fits, too_long = (middle, too_long) if _width(written) <= room else (fits, middle)
        written.set_text(text[:fits].rstrip(' ,') + '…')
    return _width(written)


def _width(text: Text) -> float:
    """Returns the width of a text in px."""
    return text.get_window_extent().width
