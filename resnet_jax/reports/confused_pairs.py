"""Confused pairs of classes, and their table `confused_pairs.csv`."""

import csv
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from resnet_jax.data.class_names import split_name
from resnet_jax.evaluation.confusion import ConfusionCounts


class ConfusedPair(NamedTuple):
    """A true class, and a wrong class that is the first prediction for some of its examples.

    Attributes:
      true: index of the true class.
      predicted: index of the wrong class.
      top1_count: number of examples of the true class whose first prediction is the wrong class.
      top5_count: number of examples of the true class with the wrong class among their five
        predictions.
      num_examples: number of decoded examples of the true class.
    """

    true: int
    predicted: int
    top1_count: int
    top5_count: int
    num_examples: int


def find_confused_pairs(counts: ConfusionCounts) -> list[ConfusedPair]:
    """Returns the confused pairs, sorted by `top1_count`, then `top5_count`, largest first."""
    num_examples = counts.count_examples()
    wrong = counts.true != counts.predicted
    cells = counts.true[wrong].astype(np.int64) * counts.num_classes + counts.predicted[wrong]
    cells, inverse = np.unique(cells, return_inverse=True)
    count = counts.count[wrong]
    is_first = counts.rank[wrong] == 0
    top5 = np.bincount(inverse, count, minlength=len(cells)).astype(np.int64)
    top1 = np.bincount(inverse, count * is_first, minlength=len(cells)).astype(np.int64)
    order = np.lexsort((cells, -top5, -top1))
    pairs = []
    for i in order[: np.count_nonzero(top1)]:
        true, predicted = divmod(int(cells[i]), counts.num_classes)
        pairs.append(
            ConfusedPair(true, predicted, int(top1[i]), int(top5[i]), int(num_examples[true]))
        )
    return pairs


def write_pairs(pairs: Sequence[ConfusedPair], names: Sequence[str]) -> str:
    """Returns the text of `confused_pairs.csv`, a row for each pair.

    Args:
      pairs: confused pairs, in the order of the rows.
      names: names of the classes, in index order.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(
        ('true_id', 'predicted_id', 'true_name', 'predicted_name', 'true_index', 'predicted_index')
        + ('top1_count', 'top5_count', 'num_true_examples')
    )
    for pair in pairs:
        true, predicted = split_name(names[pair.true]), split_name(names[pair.predicted])
        writer.writerow((true[0], predicted[0], true[1], predicted[1], *pair))
    return text.getvalue()
