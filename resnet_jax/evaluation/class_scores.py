"""How single classes fare, and which pairs are confused, from the counts of an evaluation."""

from typing import NamedTuple

import numpy as np

from resnet_jax.evaluation.confusion import ConfusionCounts


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


def count_examples(counts: ConfusionCounts) -> np.ndarray:
    """Returns the decoded examples of each class, int64 `[C]`."""
    first = counts.rank == 0
    return _sum_by_class(counts, first)


def find_confused_pairs(counts: ConfusionCounts) -> list[ConfusedPair]:
    """Returns the confused pairs, those with most first predictions, then most of five, first."""
    num_examples = count_examples(counts)
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


def score_classes(counts: ConfusionCounts) -> list[ClassScore]:
    """Returns the scores of the classes that have examples, in index order."""
    num_examples = count_examples(counts)
    hit = counts.true == counts.predicted
    top1 = _sum_by_class(counts, hit & (counts.rank == 0))
    top5 = _sum_by_class(counts, hit)
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


def _sum_by_class(counts: ConfusionCounts, some: np.ndarray) -> np.ndarray:
    sums = np.bincount(counts.true[some], counts.count[some], minlength=counts.num_classes)
    return sums.astype(np.int64)
