"""How single classes fare, and which pairs are confused, from the counts of an evaluation."""

from typing import NamedTuple

import numpy as np

from resnet_jax.evaluation.confusion import ConfusionCounts
from resnet_jax.reports.confused_pairs import find_confused_pairs


class ClassScore(NamedTuple):
    """A class among the examples of an evaluation.

    Attributes:
      index: of the class.
      num_examples: of this class, decoded.
      top1: fraction of them that have the class as their first prediction.
      top5: fraction that have it among their five.
      taken_for: the other class that is most often the first prediction; -1 if there is none.
      taken_for_count: how often.
    """

    index: int
    num_examples: int
    top1: float
    top5: float
    taken_for: int
    taken_for_count: int


def score_classes(counts: ConfusionCounts) -> list[ClassScore]:
    """Returns the scores of the classes that have examples, in index order."""
    num_examples = counts.count_examples()
    hit = counts.true == counts.predicted
    top1 = counts.sum_by_class(hit & (counts.rank == 0))
    top5 = counts.sum_by_class(hit)
    taken_for = {}
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
    scores: list[ClassScore], number: int = 20
) -> tuple[list[ClassScore], list[ClassScore]]:
    """Returns so many classes with the lowest and with the highest top-5, then top-1, accuracy.

    Of few classes, none is in both lists.
    """
    number = min(number, len(scores) // 2)
    worst = sorted(scores, key=lambda score: (score.top5, score.top1, score.index))[:number]
    best = sorted(scores, key=lambda score: (-score.top5, -score.top1, score.index))[:number]
    return worst, best
