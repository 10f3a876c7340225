"""Counts of which classes are predicted for which, by rank, and the files that keep them.

An evaluation of ImageNet's 50,000 validation images makes at most 250,000 counts, 350 KB on the
disk, from which every picture of the confusion is drawn without scoring anything again.
"""

import dataclasses

import numpy as np

from resnet_jax.errors import InputError

MAX_CLASSES = 2**16
"""Class indices are uint16."""


@dataclasses.dataclass(frozen=True)
class ConfusionCounts:
    """How often each class was predicted for each, at each rank: the cells that are not zero.

    Attributes:
      true: uint16 `[M]`, the class of the examples.
      predicted: uint16 `[M]`, a class among their predictions.
      rank: uint8 `[M]`, its place there: 0 is the most probable.
      count: uint32 `[M]`, the examples, at least 1. No (true, predicted, rank) comes twice.
      num_examples: in the split; those that could not be decoded are in no count.
      num_classes: C.
    """

    true: np.ndarray
    predicted: np.ndarray
    rank: np.ndarray
    count: np.ndarray
    num_examples: int
    num_classes: int

    def matrix(self, top_k: int = 5) -> np.ndarray:
        """Returns the counts as int64 `[C, C]`: rows true, columns each of the first `top_k`.

        `matrix(1)` is the ordinary confusion matrix, and `trace(matrix(k)) / num_examples` the
        top-k accuracy.
        """
        matrix = np.zeros((self.num_classes, self.num_classes), np.int64)
        some = self.rank < top_k
        np.add.at(matrix, (self.true[some], self.predicted[some]), self.count[some])
        return matrix

    def accuracy(self, top_k: int) -> float:
        """Returns the fraction of the examples whose class is among the first `top_k`."""
        hits = (self.true == self.predicted) & (self.rank < top_k)
        return int(self.count[hits].sum(dtype=np.int64)) / max(self.num_examples, 1)

    def sum_by_class(self, cells: np.ndarray) -> np.ndarray:
        """Returns the sums of some counts by true class, int64 `[C]`.

        Args:
          cells: bool `[M]`, the cells to add up.
        """
        sums = np.bincount(self.true[cells], self.count[cells], minlength=self.num_classes)
        return sums.astype(np.int64)

    def count_examples(self) -> np.ndarray:
        """Returns the number of decoded examples of each class, int64 `[C]`."""
        return self.sum_by_class(self.rank == 0)


def count_confusion(
    labels: np.ndarray, top_classes: np.ndarray, *, num_examples: int, num_classes: int
) -> ConfusionCounts:
    """Counts true against predicted classes.

    Args:
      labels: int `[N]`.
      top_classes: int `[N, k]`, the predicted classes of each example, the most probable first.
      num_examples: in the split: N, or more where some could not be decoded.
      num_classes: C, at most 65,536.

    Returns:
      The counts, sorted by true class, then predicted class, then rank.
    """
    if num_classes > MAX_CLASSES:
        raise InputError(f'expected at most {MAX_CLASSES:,} classes, found {num_classes:,}')
    k = top_classes.shape[1]
    pairs = labels.astype(np.int64)[:, None] * num_classes + top_classes
    cells, counts = np.unique(pairs * k + np.arange(k), return_counts=True)
    pairs, ranks = np.divmod(cells, k)
    true, predicted = np.divmod(pairs, num_classes)
    return ConfusionCounts(
        true=true.astype(np.uint16),
        predicted=predicted.astype(np.uint16),
        rank=ranks.astype(np.uint8),
        count=counts.astype(np.uint32),
        num_examples=num_examples,
        num_classes=num_classes,
    )
