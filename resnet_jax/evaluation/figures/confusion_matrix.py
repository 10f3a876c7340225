"""The confusion matrix of one evaluation."""

import io
from collections.abc import Sequence

import numpy as np

from resnet_jax.evaluation.confusion import SavedConfusion
from resnet_jax.evaluation.figures import matrix

SIZE = 1000


def draw_confusion_matrix(
    saved: SavedConfusion, *, title: str, names: Sequence[str], order: np.ndarray
) -> bytes:
    """Returns a PNG of 1000 x 1000 pixels: rows true, columns each of the predictions.

    Args:
      saved: the evaluation.
      title: below epoch and accuracies.
      names: of the classes, in index order.
      order: int `[C]`, the classes from the left and from the top.
    """
    found = matrix.aggregate(saved.counts, order, round(matrix.MATRIX_SHARE * SIZE))
    image = matrix.draw_matrix(
        found,
        matrix.compute_highest(found),
        size=SIZE,
        title=matrix.write_title(saved),
        subtitle=title,
        names=names,
        order=order,
    )
    file = io.BytesIO()
    image.save(file, 'PNG', optimize=True)
    return file.getvalue()
