"""Figure of the progress of a run: accuracies, loss and learning rate by epoch."""

from typing import Any

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from resnet_jax.reports.columns import Columns
from resnet_jax.reports.figures import style

WIDTH, HEIGHT = 1200, 720  # px

NARROW_HEIGHT = 1040  # px

LOGARITHMIC_FROM = 100
"""Smallest ratio of the largest to the smallest loss for which its axis is logarithmic."""


def draw_progress(
    metrics: Columns, theme: style.Theme, *, title: str, leading: str, narrow: bool = False
) -> bytes:
    """Returns a PNG with a chart of each accuracy, of the loss and of the learning rate.

    A wide figure has 1200 x 720 px; the chart of the leading accuracy is large, the others are
    small and to the right of it. A narrow figure has 720 x 2080 px, to be shown at half this size;
    the charts are below each other.

    Args:
      metrics: columns of `metrics.csv`, with at least one row.
      theme: colours of the figure.
      title: title of the figure.
      leading: accuracy that comes first, 'top1' or 'top5'.
      narrow: whether the figure is for a narrow screen.
    """
    figure, panels = (_lay_out_narrow if narrow else _lay_out_wide)(theme, title)
    size, large = (style.NARROW_SIZE, style.NARROW_SIZE) if narrow else (10, 12)
    second = 'top5' if leading == 'top1' else 'top1'
    _draw_accuracy(panels[0], metrics, leading, theme, width=1.8 if narrow else 2.6)
    _draw_accuracy(panels[1], metrics, second, theme)
    logarithmic = _draw_loss(panels[2], metrics, theme)
    _draw_line(panels[3], metrics['epoch'], metrics['learning_rate'], theme.series[2])
    panels[3].set_ylim(bottom=0)
    titles = (
        *(f'Top-{name[3:]} accuracy, %' for name in (leading, second)),
        'Loss, nats (logarithmic)' if logarithmic else 'Loss, nats',
        'Learning rate',
    )
    for axes, name, ticks in zip(panels, titles, (large, size, size, size), strict=True):
        has_legend_above = narrow and axes is panels[0]
        style.dress(axes, theme, name, size=ticks, pad=40 if has_legend_above else 9)
        style.mark_if_empty(axes, theme, ticks)
        if len(metrics['epoch']) == 1 and axes.get_yscale() == 'linear':
            axes.set_ylim(bottom=0)  # around a single number, the range of the axis is arbitrary
        axes.set_xlim(0, max(metrics['epoch']) * 1.02 or 1)
        axes.locator_params(axis='x', integer=True)
    panels[0].set_xlabel('epoch', color=theme.muted, fontsize=large)
    panels[3].set_xlabel('epoch', color=theme.muted, fontsize=size)
    panels[0].legend(
        **({'loc': 'lower left', 'bbox_to_anchor': (-0.03, 0.98)} if narrow else {'loc': 'best'}),
        frameon=False,
        fontsize=size if narrow else 13,
        labelcolor=theme.ink,
        handlelength=1.4,
    )
    return style.to_png(figure)


def _lay_out_wide(theme: style.Theme, title: str) -> tuple[Figure, list[Axes]]:
    """Returns the figure with its title and four empty charts."""
    figure = style.create_figure(WIDTH, HEIGHT, theme.background)
    words: dict[str, Any] = {'color': theme.ink, 'fontsize': 15, 'fontweight': 'bold'}
    style.write_line(figure, 0.055, 0.955, title, 0.985, **words)
    place = {'left': 0.055, 'right': 0.985, 'top': 0.86, 'bottom': 0.075}
    grid = figure.add_gridspec(3, 2, width_ratios=(2, 1), wspace=0.14, hspace=0.55, **place)
    cells = grid[:, 0], grid[0, 1], grid[1, 1], grid[2, 1]
    return figure, [figure.add_subplot(cell) for cell in cells]


def _lay_out_narrow(theme: style.Theme, title: str) -> tuple[Figure, list[Axes]]:
    """Returns the figure with its title and four empty charts."""
    figure = style.create_narrow_figure(NARROW_HEIGHT, theme, title)
    place = {'left': 0.13, 'right': 0.965, 'top': 1 - 126 / NARROW_HEIGHT, 'bottom': 0.045}
    grid = figure.add_gridspec(4, 1, height_ratios=(1.5, 1, 1, 1), hspace=0.5, **place)
    return figure, [figure.add_subplot(grid[i]) for i in range(4)]


def _draw_accuracy(
    axes: Axes, metrics: Columns, name: str, theme: style.Theme, *, width: float = 1.8
) -> None:
    """Draws an accuracy of both splits in percent, with the best ones in the labels.

    Args:
      axes: axes to draw into.
      metrics: columns of `metrics.csv`.
      name: 'top1' or 'top5'.
      theme: colours of the figure.
      width: width of the lines in points.
    """
    for split, color in zip(('validation', 'train'), theme.series, strict=False):
        values = 100 * metrics[f'{split}_{name}']
        label = {'train': 'training'}.get(split, split)
        if not np.isnan(values).all():
            best = np.nanargmax(values)
            label += f', best {values[best]:.2f}% at epoch {metrics["epoch"][best]:g}'
        _draw_line(axes, metrics['epoch'], values, color, label=label, linewidth=width)
    axes.set_ylim(top=min(axes.get_ylim()[1], 100))


def _draw_loss(axes: Axes, metrics: Columns, theme: style.Theme) -> bool:
    """Draws the loss of both splits; returns whether its range is so wide that the axis is
    logarithmic.
    """
    columns = [metrics['validation_loss'], metrics['train_loss']]
    for values, color in zip(columns, theme.series, strict=False):
        _draw_line(axes, metrics['epoch'], values, color)
    values = np.concatenate(columns)
    positive = values[values > 0]
    logarithmic = positive.size > 0 and positive.max() > LOGARITHMIC_FROM * positive.min()
    if logarithmic:
        axes.set_yscale('log')
        axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f'{value:g}'))
        axes.yaxis.set_minor_locator(ticker.NullLocator())
    return bool(logarithmic)


def _draw_line(axes: Axes, x: np.ndarray, y: np.ndarray, color: str, **options) -> None:
    """Draws a line; also marks its points if there are at most 40."""
    marker = 'o' if len(x) <= 40 else None
    options = {'linewidth': 1.8, 'markersize': 2.5 * options.get('linewidth', 1.8)} | options
    axes.plot(x, y, color=color, marker=marker, clip_on=False, **options)
