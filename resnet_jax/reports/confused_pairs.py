"""Pairs of classes that are confused."""

import csv
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from resnet_jax.data.class_names import split_name
from resnet_jax.evaluation.confusion import ConfusionCounts


class ConfusedPair(NamedTuple):
    """Examples of one class that have another as their first prediction.

    Attributes:
      true: index of their class.
      predicted: index of the other.
      top1_count: how many have it as their first prediction.
      top5_count: how many have it among their five.
      num_examples: of the true class, decoded.
    """

    true: int
    predicted: int
    top1_count: int
    top5_count: int
    num_examples: int


def find_confused_pairs(counts: ConfusionCounts) -> list[ConfusedPair]:
    """Returns the confused pairs, those with most first predictions, then most of five, first."""
    num_examples = counts.count_examples()
    wrong = counts.true != counts.predicted
    cells = counts.true[wrong].astype(np.int64) * counts.num_classes + counts.predicted[wrong]
    cells, inverse = np.unique(cells, return_inverse=True)
    count = counts.count[wrong]
    first = counts.rank[wrong] == 0
    top5 = np.bincount(inverse, count, minlength=len(cells)).astype(np.int64)
    top1 = np.bincount(inverse, count * first, minlength=len(cells)).astype(np.int64)
    order = np.lexsort((cells, -top5, -top1))
    pairs = []
    for i in order[: np.count_nonzero(top1)]:
        true, predicted = divmod(int(cells[i]), counts.num_classes)
        pairs.append(
            ConfusedPair(true, predicted, int(top1[i]), int(top5[i]), int(num_examples[true]))
        )
    return pairs


def write_pairs(pairs: Sequence[ConfusedPair], names: Sequence[str]) -> str:
    """Returns `confused_pairs.csv`: every pair with a first prediction, the most frequent first."""
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
