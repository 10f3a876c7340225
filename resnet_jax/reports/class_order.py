"""The order in which classes are drawn, so that those that are confused stand together."""

import numpy as np
from scipy.cluster import hierarchy
from scipy.spatial import distance

from resnet_jax.errors import InputError
from resnet_jax.evaluation.confusion import ConfusionCounts

ORDERS = ('index', 'similarity')

MAX_CLASSES = 5000
"""Of which all pairs are compared: a gigabyte of distances."""


def order_classes(counts: ConfusionCounts, order: str) -> np.ndarray:
    """Returns the classes as int64 `[C]`, in index order or by similarity.

    Two classes are alike when they share their predictions, and when they are predicted for the
    same. Each is described by its row and its column of the top-5 matrix, both as fractions; the
    leaves of the tree that average linkage makes of their cosine distances are turned so that
    neighbours are alike (Bar-Joseph et al. 2001, as in `scipy.cluster.hierarchy`).

    Raises:
      InputError: for an unknown order, or more classes than can be compared.
    """
    if order not in ORDERS:
        raise InputError(f'--order={order}: expected one of {", ".join(ORDERS)}')
    if order == 'index' or counts.num_classes < 3:
        return np.arange(counts.num_classes)
    if counts.num_classes > MAX_CLASSES:
        raise InputError(
            f'--order=similarity: expected at most {MAX_CLASSES:,} classes, found '
            f'{counts.num_classes:,}: take --order=index'
        )
    matrix = counts.matrix().astype(np.float32)
    rows = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    columns = matrix / np.maximum(matrix.sum(axis=0, keepdims=True), 1)
    profiles = np.concatenate([rows, columns.T], axis=1)
    profiles /= np.maximum(np.linalg.norm(profiles, axis=1, keepdims=True), 1e-12)
    distances = np.clip(1 - profiles @ profiles.T, 0, None)
    np.fill_diagonal(distances, 0)
    condensed = distance.squareform(distances, checks=False)
    tree = hierarchy.linkage(condensed, 'average', optimal_ordering=True)
    return hierarchy.leaves_list(tree).astype(np.int64)
