"""Confused pairs, and worst and best classes, on hand-made predictions."""

import numpy as np
import pytest

from resnet_jax.evaluation.confusion import count_confusion
from resnet_jax.reports.class_scores import ClassScore, find_worst_and_best, score_classes
from resnet_jax.reports.confused_pairs import ConfusedPair, find_confused_pairs

PREDICTIONS = {
    0: [(0, 1), (0, 1), (1, 0), (2, 1)],
    1: [(1, 2), (1, 0)],
    2: [(0, 1), (0, 2), (1, 0)],
}
"""Two predictions for each example, by its class; a fourth class has no examples."""


@pytest.fixture
def counts():
    labels = [label for label, rows in PREDICTIONS.items() for _ in rows]
    rows = [row for rows in PREDICTIONS.values() for row in rows]
    return count_confusion(np.array(labels), np.array(rows), num_examples=9, num_classes=4)


def test_pairs_are_ranked_by_first_predictions_and_then_by_all(counts):
    assert find_confused_pairs(counts) == [
        ConfusedPair(true=2, predicted=0, top1_count=2, top5_count=3, num_examples=3),
        ConfusedPair(true=0, predicted=1, top1_count=1, top5_count=4, num_examples=4),
        ConfusedPair(true=2, predicted=1, top1_count=1, top5_count=2, num_examples=3),
        ConfusedPair(true=0, predicted=2, top1_count=1, top5_count=1, num_examples=4),
    ]


def test_each_class_that_has_examples_is_scored(counts):
    assert score_classes(counts) == [
        ClassScore(0, 4, 0.5, 0.75, taken_for=1, taken_for_count=1),
        ClassScore(1, 2, 1.0, 1.0, taken_for=-1, taken_for_count=0),
        ClassScore(2, 3, 0.0, pytest.approx(1 / 3), taken_for=0, taken_for_count=2),
    ]


def test_worst_and_best_are_sorted_by_top5_then_top1_and_share_no_class():
    scores = [ClassScore(i, 10, top1, top5, -1, 0) for i, (top1, top5) in enumerate(
        [(0.5, 0.9), (0.4, 0.9), (0.9, 0.95), (0.1, 0.2), (0.9, 0.95)]
    )]  # fmt: skip
    worst, best = find_worst_and_best(scores, 'top5', 2)
    assert [score.index for score in worst] == [3, 1]
    assert [score.index for score in best] == [2, 4]
    worst, best = find_worst_and_best(scores, 'top5')
    assert (len(worst), len(best)) == (2, 2)


def test_worst_and_best_are_sorted_by_the_leading_accuracy():
    scores = [ClassScore(i, 10, top1, top5, -1, 0) for i, (top1, top5) in enumerate(
        [(0.5, 1.0), (0.4, 1.0), (0.4, 0.9), (0.9, 0.95), (0.9, 0.95)]
    )]  # fmt: skip
    worst, best = find_worst_and_best(scores, 'top1', 2)
    assert [score.index for score in worst] == [2, 1]
    assert [score.index for score in best] == [3, 4]


def test_scores_agree_with_the_accuracies_of_the_evaluation():
    rng = np.random.default_rng(0)
    labels = rng.integers(30, size=400)
    top_classes = np.argsort(rng.random((400, 30)), axis=1)[:, :5]
    counts = count_confusion(labels, top_classes, num_examples=400, num_classes=30)
    scores = score_classes(counts)
    assert sum(score.num_examples for score in scores) == 400
    for k, name in (1, 'top1'), (5, 'top5'):
        hits = sum(getattr(score, name) * score.num_examples for score in scores)
        assert hits / 400 == pytest.approx(counts.accuracy(k), abs=1e-12)
    pairs = find_confused_pairs(counts)
    wrong = np.sum(top_classes[:, 0] != labels)
    assert sum(pair.top1_count for pair in pairs) == wrong
    matrix, matrix1 = counts.matrix(), counts.matrix(1)
    for pair in pairs[:20]:
        assert pair.top1_count == matrix1[pair.true, pair.predicted]
        assert pair.top5_count == matrix[pair.true, pair.predicted]


def test_without_decoded_examples_the_lists_are_empty():
    none = count_confusion(np.zeros(0, int), np.zeros((0, 5), int), num_examples=3, num_classes=9)
    assert (find_confused_pairs(none), score_classes(none)) == ([], [])
    assert find_worst_and_best([], 'top1') == ([], [])
