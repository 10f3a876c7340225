"""Shared style of the figures: colours for light and dark pages, axes, and saving as PNG."""

import dataclasses
import io
import textwrap
import warnings
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

DPI = 100

NARROW_WIDTH = 360
"""Width of the charts for phones in px of the screen, each of which gets 2 x 2 px of the image."""

NARROW_SIZE = 8.5
"""Font size of the tick labels in these charts, in points; 10 in wide ones."""

matplotlib.rcParams['text.parse_math'] = False  # a $ in the name of a class is only a $
warnings.filterwarnings('ignore', 'Glyph .* missing from font')  # a box is drawn instead


@dataclasses.dataclass(frozen=True)
class Theme:
    """Colours of a chart.

    Attributes:
      background: colour of the background.
      ink: colour of important text.
      muted: colour of less important text, and of lines for comparison.
      grid: colour of grid lines.
      series: colours of lines. People with colour blindness can tell them apart too (after Okabe
        and Ito 2008, Color Universal Design). Each has a contrast to the background of at least 3.
    """

    background: str
    ink: str
    muted: str
    grid: str
    series: tuple[str, ...]


LIGHT = Theme(
    background='#ffffff',
    ink='#1c2024',
    muted='#60646c',
    grid='#e4e6ea',
    series=('#0072b2', '#c2410c', '#007a5a', '#a3478a', '#806a00', '#5b5bd6', '#7d4b32', '#3b6c8c'),
)
DARK = Theme(
    background='#16191d',
    ink='#edeef0',
    muted='#a9b0b8',
    grid='#2e3338',
    series=('#56b4e9', '#f59e52', '#2fc79b', '#e49ac8', '#e3cf57', '#a5a5f5', '#c9a287', '#8fb3cc'),
)
THEMES = {'light': LIGHT, 'dark': DARK}


def create_figure(width: int, height: int, background: str, *, scale: int = 1) -> Figure:
    """Returns an empty figure that is not registered in matplotlib's global state.

    Args:
      width: width in px.
      height: height in px.
      background: colour of the background.
      scale: the picture has `scale` times as many px on each side; fonts and lines grow with it.
    """
    size = width / DPI, height / DPI
    figure = Figure(figsize=size, dpi=DPI * scale, facecolor=background)
    FigureCanvasAgg(figure)
    return figure


def create_narrow_figure(height: int, theme: Theme, title: str) -> Figure:
    """Returns a figure for a narrow screen with its title, which is broken at ' · '.

    Args:
      height: height in px of the screen.
      theme: colours of the figure.
      title: title of the figure.
    """
    figure = create_figure(NARROW_WIDTH, height, theme.background, scale=2)
    lines = '\n'.join(textwrap.shorten(line, 40, placeholder=' …') for line in title.split(' · '))
    words: dict[str, Any] = {'color': theme.ink, 'fontsize': 10.5, 'fontweight': 'bold'}
    write_line(figure, 0.02, 1 - 10 / height, lines, 0.98, va='top', linespacing=1.3, **words)
    return figure


def write_line(
    figure: Figure, left: float, y: float, text: str, right: float, **words: Any
) -> None:
    """Writes a text into a figure, in a smaller font if it is too long for its place.

    Args:
      figure: figure to write into.
      left: left edge as a fraction of the figure's width.
      y: position as a fraction of the figure's height.
      text: text, of which at most 200 letters are written.
      right: right edge as a fraction of the figure's width.
      **words: font and colour, as for `Figure.text`; `fontsize` in points.
    """
    line = figure.text(left, y, text if len(text) <= 200 else f'{text[:199]}…', **words)
    width = line.get_window_extent().width / figure.bbox.width
    if width > right - left:
        line.set_fontsize(words['fontsize'] * (right - left) / width)


def mark_if_empty(axes: Axes, theme: Theme, size: float) -> None:
    """Writes 'not measured' into a chart without any number, and removes its vertical axis."""
    if not any(np.isfinite(np.asarray(line.get_ydata(), float)).any() for line in axes.lines):
        axes.set_yticks([])
        words: dict[str, Any] = {'color': theme.muted, 'fontsize': size, 'ha': 'center'}
        axes.text(0.5, 0.5, 'not measured', transform=axes.transAxes, **words)


def dress(axes: Axes, theme: Theme, title: str, *, size: float = 10, pad: float = 9) -> None:
    """Sets the style of axes: title above the left corner, muted lines and a light grid.

    Args:
      axes: axes to change.
      theme: colours of the figure.
      title: title of the chart.
      size: font size of the tick labels in points; the title is larger.
      pad: space between the title and the axes, in points.
    """
    axes.set_facecolor(theme.background)
    axes.set_title(
        title, loc='left', color=theme.ink, fontsize=size + 2, fontweight='bold', pad=pad
    )
    axes.tick_params(colors=theme.muted, labelsize=size, length=0, pad=6)
    axes.grid(color=theme.grid, linewidth=1)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == 'bottom')
        spine.set_color(theme.muted)


def to_png(figure: Figure) -> bytes:
    """Returns a figure as PNG; the same figure always gives the same bytes."""
    file = io.BytesIO()
    figure.savefig(file, format='png', metadata={'Software': None})
    return file.getvalue()
