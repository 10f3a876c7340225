"""The confusion matrices of a run's evaluations as an animated GIF."""

import io
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib import colors
from PIL import Image

from resnet_jax.evaluation.confusion_files import SavedConfusion
from resnet_jax.reports.figures import confusion_matrix

MAX_BYTES = 10_000_000
SIZES = (640, 512, 400, 300, 200)
"""Pixels of a side; the largest is taken whose file is not too large."""

FRAME_MILLISECONDS = 350
LAST_FRAME_MILLISECONDS = 3000


def draw_confusion_history(
    evaluations: Sequence[SavedConfusion],
    *,
    title: str,
    names: Sequence[str],
    order: np.ndarray,
) -> bytes:
    """Returns a GIF with a frame for each evaluation, and one scale for all.

    It has less than 10 MB, or, with more than a thousand frames, the smallest of `SIZES`.

    Args:
      evaluations: at least one, oldest first, all of the same classes.
      title: below epoch and accuracies, which are printed on every frame.
      names: of the classes, in index order.
      order: int `[C]`, the classes from the left and from the top.
    """
    bytes_per_area = 0.0
    for size in SIZES:
        if bytes_per_area * size**2 > 1.2 * MAX_BYTES and size != SIZES[-1]:
            continue  # it would be too large as well, and frames take time
        gif = _draw(evaluations, title, names, order, size)
        if len(gif) < MAX_BYTES:
            break
        bytes_per_area = len(gif) / size**2
    return gif


def _draw(
    evaluations: Sequence[SavedConfusion],
    title: str,
    names: Sequence[str],
    order: np.ndarray,
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
                title=confusion_matrix.write_title(saved),
                subtitle=title,
                names=names,
                order=order,
            )
            yield image.quantize(palette=palette, dither=Image.Dither.NONE)

    durations = [FRAME_MILLISECONDS] * (len(evaluations) - 1) + [LAST_FRAME_MILLISECONDS]
    rest = frames()
    first = next(rest)
    file = io.BytesIO()
    first.save(
        file,
        'GIF',
        save_all=True,
        append_images=rest,
        duration=durations,
        loop=0,
        disposal=1,
    )
    return file.getvalue()


def _make_palette() -> Image.Image:
    """Returns the colours of all frames: the scale's, and greys for the words."""
    grey = colors.LinearSegmentedColormap.from_list(
        '', [confusion_matrix.BACKGROUND, confusion_matrix.INK]
    )
    chosen = [*confusion_matrix.COLORS, *(grey(i / 31) for i in range(32))]
    levels = [round(255 * level) for color in chosen for level in colors.to_rgb(color)]
    palette = Image.new('P', (1, 1))
    palette.putpalette(levels)
    return palette
