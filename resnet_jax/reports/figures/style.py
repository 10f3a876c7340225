"""Shared style of the figures: colours for light and dark pages, axes, and saving as PNG."""

import dataclasses
import io
import warnings

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

DPI = 100

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


def create_figure(width: int, height: int, background: str) -> Figure:
    """Returns an empty figure that is not registered in matplotlib's global state.

    Args:
      width: width in px.
      height: height in px.
      background: colour of the background.
    """
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=background)
    FigureCanvasAgg(figure)
    return figure


def dress(axes: Axes, theme: Theme, title: str, *, size: float = 10) -> None:
    """Sets the style of axes: title above the left corner, muted lines and a light grid.

    Args:
      axes: axes to change.
      theme: colours of the figure.
      title: title of the chart.
      size: font size of the tick labels in points; the title is larger.
    """
    axes.set_facecolor(theme.background)
    axes.set_title(title, loc='left', color=theme.ink, fontsize=size + 2, fontweight='bold', pad=9)
    axes.tick_params(colors=theme.muted, labelsize=size, length=0, pad=6)
    axes.grid(color=theme.grid, linewidth=1)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == 'bottom')
        spine.set_color(theme.muted)


def to_png(figure: Figure) -> bytes:
    """Returns a figure as PNG; the same figure always gives the same bytes."""
    file = io.BytesIO()
    figure.savefig(file, format='png', dpi=DPI, metadata={'Software': None})
    return file.getvalue()
