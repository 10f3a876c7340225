"""The top-5 "accuracy" that MXNet's R package reported in 2016; see docs/the-2016-number.md."""

import numpy as np

from resnet_jax.errors import InputError

MAX_SLICE_SIZE = 1_000_000
"""Greatest number of examples in a slice."""


def require_slice_size(slice_size: int) -> None:
    """Checks the number of examples in a slice.

    Raises:
      InputError: if it is less than 1 or more than `MAX_SLICE_SIZE`.
    """
    if not 1 <= slice_size <= MAX_SLICE_SIZE:
        raise InputError(
            f'audit_mxnet_r = {slice_size}: expected at least 1 and at most {MAX_SLICE_SIZE:,} '
            'examples in a slice; use 128 for one of four GPUs that share a batch of 512'
        )


def compute_mxnet_r_top5(
    labels: np.ndarray, top_classes: np.ndarray, mask: np.ndarray, slice_size: int
) -> float:
    """Returns the fraction of examples with a predicted class equal to any label of their slice.

    The metric is given the labels of one GPU's slice of a batch. `mx.metric.top_k_accuracy`
    (apache/mxnet#3714, fixed in #9803) tested whether any of the five predicted classes of an
    example was one of these labels, instead of the example's own label. Its value is therefore at
    least the true top-5, and equal to it for slices of one example.

    Args:
      labels: int `[N]`, in the order in which examples are cut into slices; the last slice can be
        shorter.
      top_classes: int `[N, k]`, predicted classes of each example.
      mask: bool `[N]`, False for examples without a prediction. They count as wrong, and their
        labels still count for the other examples of the slice.
      slice_size: number of examples in a slice.

    Raises:
      InputError: if the slice size is out of range.
    """
    require_slice_size(slice_size)
    num_classes = int(max(labels.max(), top_classes.max())) + 1
    first_cells = np.arange(len(labels), dtype=np.int64) // slice_size * num_classes
    hits = np.isin(first_cells[:, None] + top_classes, first_cells + labels).any(axis=1)
    return int(np.sum(hits & mask)) / len(labels)
