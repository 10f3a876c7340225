"""The order of classes by index and by similarity."""

import numpy as np
import pytest

from resnet_jax.errors import InputError
from resnet_jax.evaluation.confusion import ConfusionCounts, count_confusion
from resnet_jax.reports.class_order import MAX_CLASSES, order_classes


def confuse(clusters, seed=0):
    """Returns counts in which classes are only confused within their cluster."""
    rng = np.random.default_rng(seed)
    members = {index: cluster for cluster in clusters for index in cluster}
    labels = np.repeat(sorted(members), 40)
    top_classes = np.array([rng.permutation(members[label])[:3] for label in labels])
    return count_confusion(labels, top_classes, num_examples=len(labels), num_classes=len(members))


CLUSTERS = ((0, 3, 6, 9), (1, 4, 7, 10), (2, 5, 8, 11))


def test_index_order_is_that_of_the_classes():
    assert order_classes(confuse(CLUSTERS), 'index').tolist() == list(range(12))


def test_similarity_brings_planted_clusters_together():
    order = order_classes(confuse(CLUSTERS), 'similarity')
    assert sorted(order) == list(range(12))
    clusters = order % 3
    assert np.count_nonzero(np.diff(clusters)) == 2


def test_similarity_finds_a_chain():
    """Each class is confused with its neighbours on a line on which classes are shuffled."""
    place = np.random.default_rng(1).permutation(9)
    line = np.argsort(place)
    rows = [(line[i], line[j]) for i in range(9) for j in (i - 1, i, i + 1) if 0 <= j < 9]
    labels, predicted = np.array(rows).T
    counts = count_confusion(labels, predicted[:, None], num_examples=len(labels), num_classes=9)
    places = place[order_classes(counts, 'similarity')]
    assert places.tolist() in (list(range(9)), list(range(9))[::-1])


def test_classes_without_examples_or_predictions_are_ordered_too():
    counts = count_confusion(np.array([0, 5]), np.array([[0], [0]]), num_examples=2, num_classes=7)
    assert sorted(order_classes(counts, 'similarity')) == list(range(7))


@pytest.mark.parametrize('number', [1, 2])
def test_one_or_two_classes_keep_index_order(number):
    counts = count_confusion(
        np.zeros(3, int), np.zeros((3, 1), int), num_examples=3, num_classes=number
    )
    assert order_classes(counts, 'similarity').tolist() == list(range(number))


def test_an_unknown_order_and_too_many_classes_are_refused():
    none = np.zeros(0, np.uint16)
    many = ConfusionCounts(none, none, none, none, 0, MAX_CLASSES + 1)
    with pytest.raises(InputError, match='--order=name: expected one of index, similarity'):
        order_classes(many, 'name')
    with pytest.raises(InputError, match='at most 5,000 classes, found 5,001; use --order=index'):
        order_classes(many, 'similarity')
