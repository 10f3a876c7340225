"""What the machine did during a run: its devices, its input, itself."""

import re
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from resnet_jax.reports.columns import Columns
from resnet_jax.reports.figures import style

WIDTH, PANEL_HEIGHT = 1200, 260

GIB = 2**30


class Panel(NamedTuple):
    """A small chart of one quantity.

    Attributes:
      title: with the unit.
      lines: the names of the columns to draw, a regular expression; a group is the legend.
      scale: what the values are divided by.
      limit: columns to draw as a dashed line, such as all the memory that there is.
      top: of the axis, if it is fixed.
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


def choose_panels(table: Columns) -> list[Panel]:
    """Returns the charts for which a table has columns."""
    return [panel for panel in PANELS if _match(panel.lines, table)]


def draw_machine(table: Columns, theme: style.Theme, *, title: str) -> bytes:
    """Returns a PNG, 1200 pixels wide, with a chart of each quantity that was measured.

    Args:
      table: `machine.csv`, for which there are panels.
      theme: colours.
      title: of the whole.
    """
    panels = choose_panels(table)
    num_rows = -(-len(panels) // 2)
    height = 100 + PANEL_HEIGHT * num_rows
    figure = style.create_figure(WIDTH, height, theme.background)
    place = {'left': 0.055, 'right': 0.98, 'top': 1 - 100 / height, 'bottom': 60 / height}
    grid = figure.add_gridspec(num_rows, 2, wspace=0.13, hspace=0.5, **place)
    figure.text(0.055, 1 - 42 / height, title, color=theme.ink, fontsize=15, fontweight='bold')
    unit, seconds = _choose_unit(np.nanmax(table['time_s'], initial=0))
    for i, panel in enumerate(panels):
        axes = figure.add_subplot(grid[i // 2, i % 2])
        _draw_panel(axes, table, panel, theme, seconds)
        if i >= len(panels) - 2:
            axes.set_xlabel(unit, color=theme.muted)
    return style.to_png(figure)


def _draw_panel(
    axes: Axes, table: Columns, panel: Panel, theme: style.Theme, seconds: float
) -> None:
    style.dress(axes, theme, panel.title)
    x = table['time_s'] / seconds
    lines = _match(panel.lines, table)
    for i, (column, label) in enumerate(lines.items()):
        color = theme.series[i % len(theme.series)]
        axes.plot(
            x, table[column] / panel.scale, color=color, linewidth=1.4, alpha=0.9, label=label
        )
    top = panel.top
    if panel.limit and (limits := _match(panel.limit, table)):
        limit = max(np.nanmax(table[column], initial=0) for column in limits) / panel.scale
        axes.axhline(limit, color=theme.muted, linestyle='--', linewidth=1.2)
        top = 1.08 * limit
    axes.set_ylim(0, top or 1.08 * max(axes.get_ylim()[1], 1e-9))
    axes.set_xlim(0, max(np.nanmax(x, initial=0), 1e-9))
    if 1 < len(lines) <= len(theme.series):
        axes.legend(
            loc='lower right',
            bbox_to_anchor=(1.01, 0.99),
            ncols=len(lines),
            frameon=False,
            fontsize=9.5,
            labelcolor=theme.ink,
            handlelength=1,
            columnspacing=0.9,
            handletextpad=0.4,
        )


def _match(pattern: str, table: Columns) -> dict[str, str]:
    """Returns the columns that a pattern names, each with its line of the legend."""
    matches = {column: re.fullmatch(pattern, column) for column in table}
    return {
        column: match[1] if match.re.groups else column
        for column, match in matches.items()
        if match
    }


def _choose_unit(last: float) -> tuple[str, float]:
    """Returns the unit of time to show so many seconds in, and its length in seconds."""
    for name, seconds in (('hours', 3600), ('minutes', 60)):
        if last > 3 * seconds:
            return name, seconds
    return 'seconds', 1
