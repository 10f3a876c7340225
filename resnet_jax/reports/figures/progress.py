"""Figure of the progress of a run: accuracies, loss and learning rate by epoch."""

import numpy as np
from matplotlib.axes import Axes

from resnet_jax.reports.columns import Columns
from resnet_jax.reports.figures import style

WIDTH, HEIGHT = 1200, 720


def draw_progress(metrics: Columns, theme: style.Theme, *, title: str) -> bytes:
    """Returns a PNG of 1200 x 720 px: a large chart of top-5 accuracy, and three small charts.

    The small charts show top-1 accuracy, loss and learning rate.

    Args:
      metrics: columns of `metrics.csv`, with at least one row.
      theme: colours of the figure.
      title: title of the figure.
    """
    figure = style.create_figure(WIDTH, HEIGHT, theme.background)
    figure.text(0.055, 0.955, title, color=theme.ink, fontsize=15, fontweight='bold')
    grid = figure.add_gridspec(
        3, 2, width_ratios=(2, 1), left=0.055, right=0.985, top=0.86, bottom=0.075
    )
    grid.update(wspace=0.14, hspace=0.55)
    large = figure.add_subplot(grid[:, 0])
    _draw_both(large, metrics, 'top5', theme, percent=True, width=2.6)
    style.dress(large, theme, 'Top-5 accuracy, %', size=12)
    large.set_xlabel('epoch', color=theme.muted, fontsize=12)
    large.legend(loc='best', frameon=False, fontsize=13, labelcolor=theme.ink, handlelength=1.4)
    small = [figure.add_subplot(grid[i, 1]) for i in range(3)]
    _draw_both(small[0], metrics, 'top1', theme, percent=True)
    style.dress(small[0], theme, 'Top-1 accuracy, %')
    _draw_both(small[1], metrics, 'loss', theme)
    style.dress(small[1], theme, 'Loss, nats')
    _draw_line(small[2], metrics['epoch'], metrics['learning_rate'], theme.series[2])
    style.dress(small[2], theme, 'Learning rate')
    small[2].set_ylim(bottom=0)
    small[2].set_xlabel('epoch', color=theme.muted, fontsize=10)
    for axes in (large, *small):
        axes.set_xlim(0, max(metrics['epoch']) * 1.02)
        axes.locator_params(axis='x', integer=True)
    return style.to_png(figure)


def _draw_both(
    axes: Axes,
    metrics: Columns,
    metric: str,
    theme: style.Theme,
    *,
    percent: bool = False,
    width: float = 1.8,
) -> None:
    """Draws a metric of both splits.

    Args:
      axes: axes to draw into.
      metrics: columns of `metrics.csv`.
      metric: name of the metric, without the split.
      theme: colours of the figure.
      percent: whether the metric is a fraction that is shown in percent, at most 100.
      width: width of the lines in points.
    """
    for split, color in zip(('validation', 'train'), theme.series, strict=False):
        values = metrics[f'{split}_{metric}'] * (100 if percent else 1)
        label = {'train': 'training'}.get(split, split)
        if percent and not np.isnan(values).all():
            best = np.nanargmax(values)
            label += f', best {values[best]:.2f}% at epoch {metrics["epoch"][best]:g}'
        _draw_line(axes, metrics['epoch'], values, color, label=label, linewidth=width)
    if percent:
        axes.set_ylim(top=min(axes.get_ylim()[1], 100))


def _draw_line(axes: Axes, x: np.ndarray, y: np.ndarray, color: str, **options) -> None:
    """Draws a line; also marks its points if there are at most 40."""
    marker = 'o' if len(x) <= 40 else None
    options = {'linewidth': 1.8, 'markersize': 2.5 * options.get('linewidth', 1.8)} | options
    axes.plot(x, y, color=color, marker=marker, clip_on=False, **options)
