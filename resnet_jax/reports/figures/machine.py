"""Figure of the machine during a run: load of its devices, its input and its host."""

import re
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from resnet_jax.reports.columns import Columns
from resnet_jax.reports.figures import style

WIDTH, PANEL_HEIGHT = 1200, 260  # px

NARROW_PANEL_HEIGHT = 200  # px

GIB = 2**30


class Panel(NamedTuple):
    """A small chart of one quantity.

    Attributes:
      title: name of the quantity and its unit.
      lines: regular expression for the names of the columns to draw, a line for each column. If it
        has a group, the text of the group is the line's label in the legend.
      scale: divisor of the values.
      limit: regular expression for the columns with the limit of the quantity, such as the total
        memory; the largest is drawn as a dashed line.
      top: upper end of the axis, in the unit of the title; None to fit it to the values.
    """

    title: str
    lines: str
    scale: float = 1
    limit: str = ''
    top: float | None = None


PANELS = (
    Panel('GPU utilisation, %', r'gpu(\d+)_utilisation_percent', top=100),
    Panel('GPU memory, GiB', r'gpu(\d+)_memory_used_bytes', GIB, r'gpu\d+_memory_total_bytes'),
    Panel('Memory of JAX, GiB', r'device(\d+)_memory_in_use_bytes', GIB),
    Panel('GPU power, W', r'gpu(\d+)_power_w'),
    Panel('GPU temperature, °C', r'gpu(\d+)_temperature_c'),
    Panel('Images a second', 'images_per_second'),
    Panel('Waiting for input, % of the time', 'input_wait_fraction', 0.01),
    Panel('Host CPU, %', 'host_cpu_percent', top=100),
    Panel('Host memory, GiB', '(host|process)_memory(?:_used)?_bytes', GIB),
)


def choose_panels(columns: Columns) -> list[Panel]:
    """Returns the panels for which `machine.csv` has numbers."""
    return [panel for panel in PANELS if _match(panel.lines, columns)]


def draw_machine(
    columns: Columns, theme: style.Theme, *, title: str, narrow: bool = False
) -> bytes:
    """Returns a PNG with a chart of each quantity that was measured.

    A wide figure has 1200 px with two charts next to each other. A narrow figure has 720 px, to be
    shown at half this size; the charts are below each other.

    Args:
      columns: columns of `machine.csv`, with at least one panel (`choose_panels`).
      theme: colours of the figure.
      title: title of the figure.
      narrow: whether the figure is for a narrow screen.
    """
    panels = choose_panels(columns)
    num_columns = 1 if narrow else 2
    num_rows = -(-len(panels) // num_columns)
    if narrow:
        height = 90 + NARROW_PANEL_HEIGHT * num_rows
        figure = style.create_narrow_figure(height, theme, title)
        place = {'left': 0.13, 'right': 0.965, 'top': 1 - 84 / height, 'bottom': 50 / height}
    else:
        height = 100 + PANEL_HEIGHT * num_rows
        figure = style.create_figure(WIDTH, height, theme.background)
        words: dict[str, Any] = {'color': theme.ink, 'fontsize': 15, 'fontweight': 'bold'}
        style.write_line(figure, 0.055, 1 - 42 / height, title, 0.98, **words)
        place = {'left': 0.055, 'right': 0.98, 'top': 1 - 100 / height, 'bottom': 60 / height}
    grid = figure.add_gridspec(num_rows, num_columns, wspace=0.13, hspace=0.5, **place)
    unit, seconds = _choose_unit(np.nanmax(columns['time_s'], initial=0))
    for i, panel in enumerate(panels):
        axes = figure.add_subplot(grid[i // num_columns, i % num_columns])
        _draw_panel(axes, columns, panel, theme, seconds, narrow)
        if i >= len(panels) - num_columns:
            axes.set_xlabel(unit, color=theme.muted, fontsize=style.NARROW_SIZE if narrow else 10)
    return style.to_png(figure)


def _draw_panel(
    axes: Axes, columns: Columns, panel: Panel, theme: style.Theme, seconds: float, narrow: bool
) -> None:
    """Draws one panel over time, in units of so many seconds."""
    style.dress(axes, theme, panel.title, size=style.NARROW_SIZE if narrow else 10)
    x = columns['time_s'] / seconds
    lines = _match(panel.lines, columns)
    for i, (column, label) in enumerate(lines.items()):
        color = theme.series[i % len(theme.series)]
        options: dict[str, Any] = (
            {'marker': 'o', 'markersize': 3, 'clip_on': False} if len(x) <= 40 else {}
        )
        y = columns[column] / panel.scale
        axes.plot(x, y, color=color, linewidth=1.4, alpha=0.9, label=label, **options)
    top = panel.top
    if panel.limit and (limits := _match(panel.limit, columns)):
        limit = max(np.nanmax(columns[column], initial=0) for column in limits) / panel.scale
        axes.axhline(limit, color=theme.muted, linestyle='--', linewidth=1.2)
        top = 1.08 * limit
    axes.set_ylim(0, top or 1.08 * max(axes.get_ylim()[1], 1e-9))
    axes.set_xlim(0, max(np.nanmax(x, initial=0), 1e-9))
    if 1 < len(lines) <= (4 if narrow else len(theme.series)):  # no room for more
        axes.legend(
            loc='lower right',
            bbox_to_anchor=(1.01, 0.99),
            ncols=len(lines),
            frameon=False,
            fontsize=style.NARROW_SIZE if narrow else 9.5,
            labelcolor=theme.ink,
            handlelength=0.7 if narrow else 1,
            columnspacing=0.6 if narrow else 0.9,
            handletextpad=0.4,
        )


def _match(pattern: str, columns: Columns) -> dict[str, str]:
    """Returns the names of the columns that match a pattern, each with its label in the legend.

    Columns without any number are left out.
    """
    measured = [column for column in columns if not np.isnan(columns[column]).all()]
    matches = {column: re.fullmatch(pattern, column) for column in measured}
    return {
        column: match[1] if match.re.groups else column
        for column, match in matches.items()
        if match
    }


def _choose_unit(last: float) -> tuple[str, float]:
    """Returns the unit of the time axis and its length in seconds.

    Args:
      last: largest time on the axis, in seconds.
    """
    for name, seconds in (('hours', 3600), ('minutes', 60)):
        if last > 3 * seconds:
            return name, seconds
    return 'seconds', 1
