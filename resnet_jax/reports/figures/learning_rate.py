"""Figure of the learning rate over a run."""

from collections.abc import Sequence

from matplotlib import ticker

from resnet_jax.reports.figures import style

WIDTH, HEIGHT = 1200, 520
_THEME = style.LIGHT


def draw_learning_rate(
    epochs: Sequence[float], rates: Sequence[float], *, logarithmic: bool, title: str
) -> bytes:
    """Returns a PNG of the learning rate.

    Args:
      epochs: times at which the rate is given, in epochs, in rising order.
      rates: learning rates at these times.
      logarithmic: whether the vertical axis is logarithmic.
      title: name of the run.
    """
    figure = style.create_figure(WIDTH, HEIGHT, _THEME.background)
    axes = figure.add_axes((0.08, 0.13, 0.89, 0.74))
    style.dress(axes, _THEME, f'Learning rate: {title}', size=12)
    axes.step(epochs, rates, where='post', color=_THEME.series[0], linewidth=2.5)
    axes.set_xlabel('epoch', color=_THEME.muted, fontsize=12)
    axes.set_xlim(0, epochs[-1])
    axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    if logarithmic:
        axes.set_yscale('log')
        axes.yaxis.set_major_formatter(ticker.FormatStrFormatter('%g'))
        axes.yaxis.set_minor_locator(ticker.NullLocator())
    else:
        axes.set_ylim(bottom=0)
    return style.to_png(figure)
