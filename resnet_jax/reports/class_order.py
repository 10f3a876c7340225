"""Order of the classes in a confusion matrix: by index, or similar classes side by side."""

import numpy as np
from scipy.cluster import hierarchy
from scipy.spatial import distance

from resnet_jax.errors import InputError
from resnet_jax.evaluation.confusion import ConfusionCounts

ORDERS = ('index', 'similarity')

MAX_CLASSES = 5000
"""Largest number of classes to order by similarity.

All pairs of classes are compared, which takes a gigabyte for their distances.
"""


def order_classes(counts: ConfusionCounts, order: str) -> np.ndarray:
    """Returns the classes as int64 `[C]`, in index order or by similarity.

    Two classes are similar if the network makes the same predictions for both, and if it predicts
    both for the same classes. The profile of a class is its row and its column of the top-5 matrix,
    both as fractions. Average linkage turns the cosine distances between profiles into a tree. Its
    leaves are ordered so that neighbours are similar (optimal leaf ordering, Bar-Joseph et al.
    2001, as in `scipy.cluster.hierarchy`).

    Args:
      counts: confusion counts of one evaluation.
      order: 'index' or 'similarity'.

    Raises:
      InputError: if the order is unknown, or if there are more than `MAX_CLASSES` classes to order
        by similarity.
    """
    if order not in ORDERS:
        raise InputError(f'--order={order}: expected one of {", ".join(ORDERS)}')
    if order == 'index' or counts.num_classes < 3:
        return np.arange(counts.num_classes)
    if counts.num_classes > MAX_CLASSES:
        raise InputError(
            f'--order=similarity: expected at most {MAX_CLASSES:,} classes, found '
            f'{counts.num_classes:,}; use --order=index'
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
