"""Lines of the log and cells of the tables, from steps whose metrics are given."""

import io
import logging
import math

import numpy as np
import pytest
from clu.metrics import Average
from support.running import FakeTerminal

from resnet_jax.console.terminal import Terminal
from resnet_jax.evaluation.confusion import count_confusion
from resnet_jax.evaluation.metrics import EvaluationResult, TrainMetrics
from resnet_jax.storage.workdir import Workdir
from resnet_jax.training.metrics_logger import MetricsLogger


def make_logger(folder, stream=None, *, last_step=10, image_size=224, leading='top1'):
    return MetricsLogger(
        Workdir(folder),
        Terminal(stream or io.StringIO()),
        writes_files=True,
        machine_log=None,
        sums={},
        start_step=0,
        last_step=last_step,
        steps_per_epoch=5,
        batch_size=2,
        image_size=image_size,
        leading=leading,
    )


def add_step(logger, step):
    totals = {'loss': 1.0, 'top1': 1.0, 'top5': 2.0}
    means = {name: Average(np.float32(total), np.int32(2)) for name, total in totals.items()}
    logger.add(step, TrainMetrics.empty().replace(**means), 0.0)


def set_rates(monkeypatch, logger, speed, input_wait):
    monkeypatch.setattr(logger._throughput, 'rates', lambda: (speed, input_wait))


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO, logger='absl')
    return caplog


def test_a_line_of_the_log_has_the_time_left_in_hours_and_minutes(tmp_path, log, monkeypatch):
    logger = make_logger(tmp_path, last_step=100_000)
    set_rates(monkeypatch, logger, 3.4, 0.0123456)
    add_step(logger, 1)
    logger.log(1, 0.1)
    assert log.messages == [
        '[1] epoch=0.2, train_loss=0.5, train_top1=0.5, train_top5=1, learning_rate=0.1, '
        'images_per_second=3.4, input_wait_fraction=0.0123, time_left=16 h 20 min'
    ]


def test_a_line_leaves_out_what_was_not_measured(tmp_path, log, monkeypatch):
    logger = make_logger(tmp_path)
    set_rates(monkeypatch, logger, math.nan, math.nan)
    add_step(logger, 1)
    logger.log(1, 0.1)
    assert 'nan' not in log.text
    assert log.messages[0].endswith('learning_rate=0.1')


@pytest.mark.parametrize(('leading', 'shown'), [('top1', 'top-1 50.00%'), ('top5', 'top-5 100')])
def test_the_progress_line_shows_the_leading_accuracy(tmp_path, leading, shown, monkeypatch):
    stream = FakeTerminal()
    logger = make_logger(tmp_path, stream, leading=leading)
    set_rates(monkeypatch, logger, 1234.5, 0.0)
    add_step(logger, 1)
    logger.log(1, 0.1)
    assert f'loss 0.5000   {shown}' in stream.getvalue()
    assert stream.getvalue().count('top-') == 1


@pytest.mark.parametrize(('image_size', 'advises'), [(224, True), (32, False)])
def test_only_large_images_are_advised_to_be_stored_smaller(
    tmp_path, log, monkeypatch, image_size, advises
):
    logger = make_logger(tmp_path, image_size=image_size)
    set_rates(monkeypatch, logger, 10.0, 0.5)
    for step in (1, 2):
        add_step(logger, step)
        logger.log(step, 0.1)
    [warning] = [line for line in log.messages if 'bottleneck' in line]
    assert 'devices waited for it 50% of the time' in warning
    assert 'ive the process more cores' in warning
    assert ('smaller images' in warning) == advises


def test_a_speed_that_was_not_measured_leaves_its_cell_empty(tmp_path):
    logger = make_logger(tmp_path)
    add_step(logger, 5)
    counts = count_confusion(np.array([0]), np.array([[0]]), num_examples=1, num_classes=2)
    logger.add_row(5, 0.1, EvaluationResult('validation', 5, 1, 0, 0.5, 1.0, 1.0, counts, False))
    [row] = Workdir(tmp_path).read_metrics()
    assert (row['images_per_second'], row['input_wait_fraction']) == ('', '')
    assert row['train_loss'] == '0.5'
    assert 'nan' not in (tmp_path / 'metrics.csv').read_text()
