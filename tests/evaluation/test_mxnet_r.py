"""The "top-5" of MXNet's R package in 2016: hand-built slices, bounds, and use in evaluation."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from support.running import ROOT, command, finish
from support.runs import make_config

from resnet_jax.console.signals import StopRequest
from resnet_jax.console.terminal import Terminal
from resnet_jax.errors import InputError
from resnet_jax.evaluation.mxnet_r import compute_mxnet_r_top5
from resnet_jax.run import Run
from resnet_jax.training import loop

LABELS = np.array([0, 1, 2, 3, 4, 5], np.int32)
TOP_CLASSES = np.array(
    [
        [0, 9, 8],  # right
        [2, 9, 8],  # wrong; 2 is the label of the next example
        [9, 8, 7],  # wrong, and no label of any example
        [1, 0, 9],  # wrong; labels of the first two
        [5, 9, 8],  # wrong; 5 is the label of the last
        [9, 5, 8],  # right
    ],
    np.int32,
)
ALL = np.ones(6, bool)


@pytest.mark.parametrize(
    ('slice_size', 'right'),
    [
        (1, [0, 5]),
        (2, [0, 4, 5]),
        (3, [0, 1, 4, 5]),
        (4, [0, 1, 3, 4, 5]),  # the last slice has two
        (5, [0, 1, 3, 5]),
        (6, [0, 1, 3, 4, 5]),
        (1000, [0, 1, 3, 4, 5]),
    ],
)
def test_a_prediction_of_any_label_of_the_slice_is_right(slice_size, right):
    assert compute_mxnet_r_top5(LABELS, TOP_CLASSES, ALL, slice_size) == len(right) / 6


def test_an_example_that_was_not_predicted_is_wrong_and_lends_its_label():
    mask = np.array([False, True, False, True, True, True])
    assert compute_mxnet_r_top5(LABELS, TOP_CLASSES, mask, 6) == 4 / 6
    assert compute_mxnet_r_top5(LABELS, TOP_CLASSES, mask, 1) == 1 / 6


def compute_one_by_one(labels, top_classes, slice_size):
    """Returns the metric, computed by the loop of the R code."""
    right = 0
    for start in range(0, len(labels), slice_size):
        in_slice = set(labels[start:][:slice_size].tolist())
        right += sum(bool(in_slice & set(row)) for row in top_classes[start:][:slice_size].tolist())
    return right / len(labels)


@pytest.mark.parametrize('slice_size', [1, 2, 7, 36, 128, 299, 300, 500])
@pytest.mark.parametrize('num_classes', [5, 10, 1000])
def test_the_metric_equals_that_of_a_loop(num_classes, slice_size):
    rng = np.random.default_rng(slice_size)
    labels = rng.integers(0, num_classes, 300).astype(np.int32)
    top_classes = np.argsort(rng.random((300, num_classes)), axis=1)[:, :5].astype(np.int32)
    mxnet_r_top5 = compute_mxnet_r_top5(labels, top_classes, np.ones(300, bool), slice_size)
    assert mxnet_r_top5 == compute_one_by_one(labels, top_classes, slice_size)
    assert mxnet_r_top5 >= np.mean((top_classes == labels[:, None]).any(axis=1))


@pytest.mark.parametrize('slice_size', [0, -1, -128, 10**23])
def test_a_slice_size_that_is_out_of_range_is_refused(slice_size):
    message = f'audit_mxnet_r = {slice_size}: expected at least 1 and at most 1,000,000 examples'
    with pytest.raises(InputError, match=message):
        compute_mxnet_r_top5(LABELS, TOP_CLASSES, ALL, slice_size)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('audit') / 'run'
    config = make_config()
    config.num_epochs = 1
    loop.train(config, folder, Terminal(io.StringIO()), StopRequest())
    return folder


def test_evaluation_computes_it_in_addition_to_the_true_top5(folder):
    run = Run(folder)
    assert run.evaluate().mxnet_r_top5 is None
    by_slice = [run.evaluate(audit_mxnet_r=size) for size in (1, 2, 360)]
    assert {result.top5 for result in by_slice} == {by_slice[0].top5}
    assert by_slice[0].mxnet_r_top5 == by_slice[0].top5 < by_slice[1].mxnet_r_top5
    assert by_slice[2].mxnet_r_top5 == 1.0
    with pytest.raises(InputError, match='audit_mxnet_r = 0'):
        run.evaluate(audit_mxnet_r=0)


@pytest.mark.slow
def test_the_command_prints_it_and_refuses_empty_slices(folder):
    result = command('evaluate', f'--workdir={folder}', '--audit_mxnet_r=36')
    assert result.returncode == 0, result.stderr
    *table, line = result.stdout.splitlines()
    scores = json.loads(line)
    assert scores['top5'] < scores['mxnet_r_top5'] <= 1
    assert any('mxnet_r_top5' in row and 'not a top-5 accuracy' in row for row in table)
    refused = command('evaluate', f'--workdir={folder}', '--audit_mxnet_r=0')
    assert refused.returncode == 2
    assert 'audit_mxnet_r = 0' in refused.stderr
    assert 'Traceback' not in refused.stderr


def test_the_simulation_agrees_with_the_closed_form_that_the_document_gives():
    process = subprocess.Popen(
        [sys.executable, str(ROOT / 'benchmarks' / 'the_2016_number.py')],
        env={'PYTHONPATH': str(ROOT), 'PATH': ''},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = finish(process).splitlines()
    rows = [[float(x) for x in line.split()] for line in lines[1:] if line[:5].strip().isdigit()]
    assert len(rows) == 15
    document = (ROOT / 'docs' / 'the-2016-number.md').read_text()
    for slice_size, true_top5, uniform, clustered, closed in rows:
        exact = 100 - (100 - true_top5) * 0.995 ** (slice_size - 1)
        assert abs(closed - exact) < 0.01
        assert abs(uniform - exact) < 0.5
        assert abs(clustered - exact) < 0.5
        assert f'{closed:.2f}' in document
