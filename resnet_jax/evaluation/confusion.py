"""Counts of which classes are predicted for which."""

import numpy as np


def count_confusion(labels: np.ndarray, top_classes: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts true against predicted classes.

    Args:
      labels: int `[N]`.
      top_classes: int `[N, k]`, the predicted classes of each example.
      num_classes: C.

    Returns:
      int64 `[C, C]`, rows true, columns each of the k predicted.
    """
    cells = labels.astype(np.int64)[:, None] * num_classes + top_classes
    counts = np.bincount(cells.ravel(), minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)
