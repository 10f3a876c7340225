"""Animated GIF of the confusion matrices of a run, one frame for each evaluation."""

import io
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib import colors
from PIL import Image

from resnet_jax.evaluation.confusion_files import SavedConfusion
from resnet_jax.reports.figures import class_axes, confusion_matrix

MAX_BYTES = 10_000_000
"""The file must be smaller than this."""

SIZES = (640, 512, 400, 300, 200)
"""Sides of the picture to try, in px: the first whose file is smaller than `MAX_BYTES` is used."""

FRAME_MILLISECONDS = 350
LAST_FRAME_MILLISECONDS = 3000


def draw_confusion_history(
    evaluations: Sequence[SavedConfusion],
    *,
    title: str,
    names: Sequence[str],
    order: np.ndarray,
    leading: str,
) -> bytes:
    """Returns a GIF with a frame for each evaluation, all on the same colour scale.

    The GIF is smaller than 10 MB. Only with more than about a thousand frames can it be larger; it
    then has the smallest of `SIZES`.

    Args:
      evaluations: at least one evaluation, oldest first, all with the same classes.
      title: line of text below the epoch and the accuracies on every frame.
      names: names of the classes, in index order.
      order: int `[C]`, the classes from left to right and from top to bottom.
      leading: accuracy that comes first, 'top1' or 'top5'.
    """
    bytes_per_area = 0.0
    for size in SIZES:
        if bytes_per_area * size**2 > 1.2 * MAX_BYTES and size != SIZES[-1]:
            continue  # it is likely to be too large too, and drawing frames takes time
        gif = _draw(evaluations, title, names, order, leading, size)
        if len(gif) < MAX_BYTES:
            break
        bytes_per_area = len(gif) / size**2
    return gif


def _draw(
    evaluations: Sequence[SavedConfusion],
    title: str,
    names: Sequence[str],
    order: np.ndarray,
    leading: str,
    size: int,
) -> bytes:
    side = round(confusion_matrix.MATRIX_SHARE * size)
    highest = max(
        confusion_matrix.compute_highest(confusion_matrix.aggregate(saved.counts, order, side))
        for saved in evaluations
    )
    palette = _make_palette()

    def frames() -> Iterator[Image.Image]:
        for saved in evaluations:
            image = confusion_matrix.draw_matrix(
                confusion_matrix.aggregate(saved.counts, order, side),
                highest,
                size=size,
                title=confusion_matrix.write_title(saved, leading),
                subtitle=title,
                names=names,
                order=order,
            )
            yield image.quantize(palette=palette, dither=Image.Dither.NONE)

    durations = [FRAME_MILLISECONDS] * (len(evaluations) - 1) + [LAST_FRAME_MILLISECONDS]
    remaining = frames()
    first = next(remaining)
    file = io.BytesIO()
    first.save(
        file,
        'GIF',
        save_all=True,
        append_images=remaining,
        duration=durations,
        loop=0,
        disposal=1,
    )
    return file.getvalue()


def _make_palette() -> Image.Image:
    """Returns the palette of all frames: the colours of the scale, and greys for the text."""
    greys = colors.LinearSegmentedColormap.from_list('', [class_axes.BACKGROUND, class_axes.INK])
    rgba = colors.to_rgba_array([*confusion_matrix.COLORS, *greys(np.arange(32) / 31)])
    levels = [round(255 * level) for level in rgba[:, :3].ravel().tolist()]
    palette = Image.new('P', (1, 1))
    palette.putpalette(levels)
    return palette
