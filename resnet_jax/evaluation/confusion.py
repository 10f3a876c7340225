"""Confusion counts: how often each class is predicted for each true class, by rank.

An evaluation of ImageNet's 50,000 validation images makes at most 250,000 counts, 350 KB on the
disk. The confusion figures of the report are drawn from them, without another evaluation.
"""

import dataclasses

import numpy as np

from resnet_jax.errors import InputError

MAX_CLASSES = 2**16
"""Greatest number of classes, because class indices are uint16."""


@dataclasses.dataclass(frozen=True)
class ConfusionCounts:
    """Sparse table of confusion counts, with M cells.

    Attributes:
      true: uint16 `[M]`, true class of the examples in a cell.
      predicted: uint16 `[M]`, a class that was predicted for these examples.
      rank: uint8 `[M]`, position of that class among their predictions; 0 is the most probable.
      count: uint32 `[M]`, number of these examples, at least 1. Each (true, predicted, rank)
        occurs at most once.
      num_examples: number of examples in the split. Examples that could not be decoded are in no
        cell.
      num_classes: number of classes, C.
    """

    true: np.ndarray
    predicted: np.ndarray
    rank: np.ndarray
    count: np.ndarray
    num_examples: int
    num_classes: int

    def matrix(self, top_k: int = 5) -> np.ndarray:
        """Returns the confusion matrix of the `top_k` most probable classes, int64 `[C, C]`.

        Rows are true classes, columns are predicted classes. `matrix(1)` is the usual confusion
        matrix, and `trace(matrix(k)) / num_examples` is the top-k accuracy.
        """
        matrix = np.zeros((self.num_classes, self.num_classes), np.int64)
        cells = self.rank < top_k
        np.add.at(matrix, (self.true[cells], self.predicted[cells]), self.count[cells])
        return matrix

    def accuracy(self, top_k: int) -> float:
        """Returns the fraction of examples whose class is among the `top_k` most probable."""
        hits = (self.true == self.predicted) & (self.rank < top_k)
        return int(self.count[hits].sum(dtype=np.int64)) / max(self.num_examples, 1)

    def sum_by_class(self, cells: np.ndarray) -> np.ndarray:
        """Returns the sum of the counts of each true class, int64 `[C]`.

        Args:
          cells: bool `[M]`, True for the cells that are summed.
        """
        sums = np.bincount(self.true[cells], self.count[cells], minlength=self.num_classes)
        return sums.astype(np.int64)

    def count_examples(self) -> np.ndarray:
        """Returns the number of decoded examples of each class, int64 `[C]`."""
        return self.sum_by_class(self.rank == 0)


def count_confusion(
    labels: np.ndarray, top_classes: np.ndarray, *, num_examples: int, num_classes: int
) -> ConfusionCounts:
    """Counts how often each class is predicted for each true class, by rank.

    Args:
      labels: int `[N]`, true class of each decoded example.
      top_classes: int `[N, k]`, predicted classes of each example, the most probable first.
      num_examples: number of examples in the split: N plus those that could not be decoded.
      num_classes: number of classes, at most 65,536.

    Returns:
      The counts, sorted by true class, then predicted class, then rank.

    Raises:
      InputError: if there are too many classes.
    """
    if num_classes > MAX_CLASSES:
        raise InputError(
            f'confusion counts: expected at most {MAX_CLASSES:,} classes, found {num_classes:,}; '
            'use a data set with fewer classes'
        )
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
