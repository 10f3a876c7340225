"""Accuracies, loss and learning rate over the epochs of a run."""

import numpy as np
from matplotlib.axes import Axes

from resnet_jax.reports.columns import Columns
from resnet_jax.reports.figures import style

WIDTH, HEIGHT = 1200, 720


def draw_progress(table: Columns, theme: style.Theme, *, title: str) -> bytes:
    """Returns a PNG of 1200 x 720 pixels: top-5 large; top-1, loss and learning rate beside it.

    Args:
      table: `metrics.csv`, a row an evaluation, at least one.
      theme: colours.
      title: of the whole.
    """
    figure = style.create_figure(WIDTH, HEIGHT, theme.background)
    figure.text(0.055, 0.955, title, color=theme.ink, fontsize=15, fontweight='bold')
    grid = figure.add_gridspec(
        3, 2, width_ratios=(2, 1), left=0.055, right=0.985, top=0.86, bottom=0.075
    )
    grid.update(wspace=0.14, hspace=0.55)
    large = figure.add_subplot(grid[:, 0])
    _draw_both(large, table, 'top5', theme, percent=True, width=2.6)
    style.dress(large, theme, 'Top-5 accuracy, %', size=12)
    large.set_xlabel('epoch', color=theme.muted, fontsize=12)
    large.legend(loc='best', frameon=False, fontsize=13, labelcolor=theme.ink, handlelength=1.4)
    small = [figure.add_subplot(grid[i, 1]) for i in range(3)]
    _draw_both(small[0], table, 'top1', theme, percent=True)
    style.dress(small[0], theme, 'Top-1 accuracy, %')
    _draw_both(small[1], table, 'loss', theme)
    style.dress(small[1], theme, 'Loss, nats')
    _draw_line(small[2], table['epoch'], table['learning_rate'], theme.series[2])
    style.dress(small[2], theme, 'Learning rate')
    small[2].set_ylim(bottom=0)
    small[2].set_xlabel('epoch', color=theme.muted, fontsize=10)
    for axes in (large, *small):
        axes.set_xlim(0, max(table['epoch']) * 1.02)
        axes.xaxis.get_major_locator().set_params(integer=True)
    return style.to_png(figure)


def _draw_both(
    axes: Axes,
    table: Columns,
    metric: str,
    theme: style.Theme,
    *,
    percent: bool = False,
    width: float = 1.8,
) -> None:
    """Draws a metric of both splits; accuracies as percentages that end at 100."""
    for split, color in zip(('validation', 'train'), theme.series, strict=False):
        values = table[f'{split}_{metric}'] * (100 if percent else 1)
        label = {'train': 'training'}.get(split, split)
        if percent and not np.isnan(values).all():
            best = np.nanargmax(values)
            label += f', best {values[best]:.2f}% at epoch {table["epoch"][best]:g}'
        _draw_line(axes, table['epoch'], values, color, label=label, linewidth=width)
    if percent:
        axes.set_ylim(top=min(axes.get_ylim()[1], 100))


def _draw_line(axes: Axes, x: np.ndarray, y: np.ndarray, color: str, **options) -> None:
    """Draws a line, and its points too when they are few."""
    marker = 'o' if len(x) <= 40 else None
    options = {'linewidth': 1.8, 'markersize': 2.5 * options.get('linewidth', 1.8)} | options
    axes.plot(x, y, color=color, marker=marker, clip_on=False, **options)
