"""The top-5 "accuracy" that MXNet's R package reported in 2016; see docs/the-2016-number.md."""

import numpy as np

from resnet_jax.errors import InputError


def require_slice_size(slice_size: int) -> None:
    """Checks that examples can be cut into slices of so many.

    Raises:
      InputError: when there would be none in a slice.
    """
    if slice_size < 1:
        raise InputError(
            f'audit_mxnet_r = {slice_size}: expected a slice of at least 1 example, such as 128, '
            'what one of four GPUs had of a batch of 512'
        )


def compute_mxnet_r_top5(
    labels: np.ndarray, top_classes: np.ndarray, mask: np.ndarray, slice_size: int
) -> float:
    """Returns the fraction of examples with a predicted class that is any label of their slice.

    `mx.metric.top_k_accuracy` (apache/mxnet#3714, repaired in #9803) asked whether any of an
    example's five classes was an element of the whole vector of labels that the metric was given,
    which was one GPU's slice of a batch. So it is at least the true top-5, and equals it for
    slices of one.

    Args:
      labels: int `[N]`, in the order in which examples are cut into slices; the last slice may be
        shorter.
      top_classes: int `[N, k]`.
      mask: bool `[N]`, False for examples that were not predicted: they are wrong, and their
        labels count for the rest of the slice.
      slice_size: examples in a slice.

    Raises:
      InputError: for less than one example in a slice.
    """
    require_slice_size(slice_size)
    num_classes = int(max(labels.max(), top_classes.max())) + 1
    first_cells = np.arange(len(labels), dtype=np.int64) // slice_size * num_classes
    hits = np.isin(first_cells[:, None] + top_classes, first_cells + labels).any(axis=1)
    return int(np.sum(hits & mask)) / len(labels)
