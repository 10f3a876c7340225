"""Loss, most probable classes, and sums of training metrics."""

import math

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from resnet_jax.devices import parallel
from resnet_jax.evaluation import metrics


def draw_logits(number, classes, scale=3.0):
    return np.random.default_rng(0).normal(0, scale, (number, classes)).astype(np.float32)


def draw_labels(number, classes):
    return np.random.default_rng(1).integers(0, classes, number, np.int32)


@pytest.mark.parametrize('label_smoothing', [0.0, 0.1, 0.9])
def test_cross_entropy_is_that_of_the_smoothed_targets(label_smoothing):
    logits, labels = draw_logits(20, 7), draw_labels(20, 7)
    exact = np.float64(logits)
    log_probabilities = exact - np.log(np.exp(exact).sum(axis=1, keepdims=True))
    targets = (1 - label_smoothing) * np.eye(7)[labels] + label_smoothing / 7
    losses = metrics.compute_cross_entropy(logits, labels, label_smoothing)
    assert losses.dtype == np.float32
    np.testing.assert_allclose(losses, -(targets * log_probabilities).sum(axis=1), rtol=1e-5)


def test_cross_entropy_of_equal_and_of_great_logits():
    equal = metrics.compute_cross_entropy(np.zeros((1, 1000), np.float32), np.array([3]))
    assert float(equal[0]) == pytest.approx(math.log(1000), rel=1e-6)
    great = np.array([[1e4, 0.0, -1e4]] * 2, np.float32)
    losses = metrics.compute_cross_entropy(great, np.array([0, 2]))
    np.testing.assert_array_equal(losses, [0.0, 2e4])


def test_top_classes_are_in_descending_order_and_ties_go_to_the_lower_class():
    logits = np.array([[0, 3, 1, 3, 2, 9, 1], [0] * 7, [6, 5, 4, 3, 2, 1, 0]], np.float32)
    assert metrics.compute_top_classes(logits).tolist() == [
        [5, 1, 3, 4, 2],
        [0, 1, 2, 3, 4],
        [0, 1, 2, 3, 4],
    ]


def test_there_are_at_most_as_many_top_classes_as_classes():
    assert metrics.compute_top_classes(np.array([[1, 5, 3]], np.float32)).tolist() == [[1, 2, 0]]


@pytest.mark.parametrize('num_devices', [1, 4])
def test_training_metrics_are_sums_over_the_masks_of_all_devices(num_devices):
    mesh = Mesh(np.array(jax.devices()[:num_devices]), (parallel.AXIS,))
    logits, labels = draw_logits(16, 10), draw_labels(16, 10)
    losses = np.arange(16, dtype=np.float32)
    mask = np.ones(16, bool)
    mask[[0, 1, 2, 3, 9, 15]] = False
    p_gather = parallel.p_map(
        lambda _, batch: metrics.TrainMetrics.gather(**batch, axis_name=parallel.AXIS), mesh
    )
    batch = {'logits': logits, 'losses': losses, 'labels': labels, 'mask': mask}
    result = p_gather(np.zeros(()), parallel.shard(batch, mesh))
    order = np.argsort(-logits, axis=1)
    top1 = order[:, 0] == labels
    top5 = (order[:, :5] == labels[:, None]).any(axis=1)
    assert 0 < top1[mask].sum() < top5[mask].sum() < 10
    sums = metrics.add_sums({}, result)
    assert sums == {
        'loss': (float(losses[mask].sum()), 10.0),
        'top1': (float(top1[mask].sum()), 10.0),
        'top5': (float(top5[mask].sum()), 10.0),
    }


def make_step(loss, top1, top5, count):
    def average(total):
        return metrics.metrics.Average(total=np.float32(total), count=np.int32(count))

    return metrics.TrainMetrics.empty().replace(
        loss=average(loss), top1=average(top1), top5=average(top5)
    )


def test_sums_stay_exact_where_float32_would_not():
    before = dict.fromkeys(('loss', 'top1', 'top5'), (2.0**24, 2.0**24))
    after = before
    for step_metrics in (make_step(1, 1, 1, 1), make_step(2, 1, 1, 2)):
        after = metrics.add_sums(after, step_metrics)
    assert np.float32(2**24) + np.float32(1) == 2**24
    assert after['top1'] == (2.0**24 + 2, 2.0**24 + 3)
    assert after['loss'] == (2.0**24 + 3, 2.0**24 + 3)
    assert before['top1'] == (2.0**24, 2.0**24)


def test_sums_come_back_from_json_as_lists():
    assert metrics.add_sums({'loss': [1.0, 2]}, make_step(1, 0, 0, 2))['loss'] == (2.0, 4.0)


def test_means_are_totals_divided_by_counts():
    means = metrics.compute_means({'loss': (6.0, 4.0), 'top1': (0.0, 0.0)})
    assert means['loss'] == 1.5
    assert math.isnan(means['top1'])
