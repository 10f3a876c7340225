"""Accuracy of each class, and the worst and best classes of an evaluation."""

import operator
from typing import NamedTuple

import numpy as np

from resnet_jax.evaluation.confusion import ConfusionCounts
from resnet_jax.reports.confused_pairs import find_confused_pairs


class ClassScore(NamedTuple):
    """Scores of one class in an evaluation.

    Attributes:
      index: index of the class.
      num_examples: number of decoded examples of the class.
      top1: fraction of these examples whose first prediction is correct.
      top5: fraction of these examples whose class is among their five predictions.
      taken_for: index of the wrong class that is most often the first prediction; -1 if the first
        prediction is always correct.
      taken_for_count: number of examples whose first prediction is `taken_for`.
    """

    index: int  # type: ignore[assignment]  # a field may be called like a method of tuple
    num_examples: int
    top1: float
    top5: float
    taken_for: int
    taken_for_count: int


def score_classes(counts: ConfusionCounts) -> list[ClassScore]:
    """Returns the scores of the classes that have examples, in index order."""
    num_examples = counts.count_examples()
    correct = counts.true == counts.predicted
    top1 = counts.sum_by_class(correct & (counts.rank == 0))
    top5 = counts.sum_by_class(correct)
    taken_for: dict[int, tuple[int, int]] = {}
    for pair in find_confused_pairs(counts):
        taken_for.setdefault(pair.true, (pair.predicted, pair.top1_count))
    return [
        ClassScore(
            index,
            number := int(num_examples[index]),
            int(top1[index]) / number,
            int(top5[index]) / number,
            *taken_for.get(index, (-1, 0)),
        )
        for index in np.flatnonzero(num_examples).tolist()
    ]


def find_worst_and_best(
    scores: list[ClassScore], leading: str, number: int = 20
) -> tuple[list[ClassScore], list[ClassScore]]:
    """Returns the classes with the lowest and with the highest accuracy.

    No class is in both lists, so each list has at most half of the classes.

    Args:
      scores: scores of all classes.
      leading: accuracy that comes first, 'top1' or 'top5'. Of classes in which it is equal, the
        other accuracy decides, then the index.
      number: largest number of classes in each list.
    """
    number = min(number, len(scores) // 2)
    by_index = sorted(scores, key=lambda score: score.index)
    by_accuracy = operator.attrgetter(leading, 'top1' if leading == 'top5' else 'top5')
    worst = sorted(by_index, key=by_accuracy)[:number]
    best = sorted(by_index, key=by_accuracy, reverse=True)[:number]  # stable: index ascends
    return worst, best
