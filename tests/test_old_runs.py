"""A run folder of version 0.1.0, stopped at step 7 of 15, opens and continues today.

`fixtures/run_0_1_0` was written at commit 3f4830e: training with the config that it holds, on four
simulated CPU devices, and a SIGTERM in step 7. `run_0_1_0-ids.json` holds the ids of the examples
of steps 8 to 15, a list for each step, as that commit's input pipeline gave them.
"""

import io
import json
import logging
import shutil

import jax
import numpy as np
import pytest
import safetensors.numpy
from support.paths import FIXTURES

import resnet_jax
from resnet_jax.config import schema
from resnet_jax.console.signals import StopRequest
from resnet_jax.console.terminal import Terminal
from resnet_jax.data import pipeline
from resnet_jax.data.sources import registry
from resnet_jax.training import loop

IDS = json.loads((FIXTURES / 'run_0_1_0-ids.json').read_text())


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return shutil.copytree(FIXTURES / 'run_0_1_0', tmp_path_factory.mktemp('old') / 'run')


@pytest.fixture(scope='module')
def run(folder):
    return resnet_jax.Run(folder)


def test_it_opens(run):
    assert run.class_names() == tuple('0123456789')
    assert (run.config.model.depth, run.config.ema_decay) == (8, 0.9)
    assert [(c.step, c.epoch, c.is_best) for c in run.checkpoints()] == [
        (5, 1, True),
        (7, 1.4, False),
    ]
    assert run.metrics()['validation_top5'].tolist() == [0.48055555555555557]


def test_fields_that_it_lacks_have_the_values_that_change_nothing(run, folder):
    stored = schema.flatten(json.loads((folder / 'config.json').read_text()))
    fields = schema.flatten(run.config)
    assert {field: fields[field] for field in fields.keys() - stored.keys()} == {
        'best_metric': 'top5',
        'data.exif_orientation': False,
        'data.max_skipped_fraction': 0.1,
        'data.validation_fraction': 0.0,
        'initial_head': 'auto',
    }


def test_it_is_evaluated_as_it_was_then(run):
    result = run.evaluate(checkpoint='best')
    metrics = run.metrics()
    assert result.step == 5
    assert (result.top1, result.top5) == (
        metrics['validation_top1'][0],
        metrics['validation_top5'][0],
    )
    assert result.loss == pytest.approx(metrics['validation_loss'][0], rel=1e-5)
    with np.load(FIXTURES / 'run_0_1_0' / 'confusion' / '5.npz') as saved:
        np.testing.assert_array_equal(result.counts.count, saved['count'])
        np.testing.assert_array_equal(result.counts.predicted, saved['predicted'])


def test_it_predicts_reports_and_exports(run, folder):
    image = registry.load_source(run.config, 'validation').load_image(0).numpy()
    [predictions] = run.predictor().predict([image])
    assert sum(p.probability for p in predictions) <= 1.00001
    assert '48.06%' in run.write_report().read_text()
    assert [path.name for path in run.export(folder / 'net.stablehlo')] == [
        'net.stablehlo',
        'net.json',
    ]
    run.export(folder / 'net.safetensors', checkpoint='latest', file_format='safetensors')
    arrays = safetensors.numpy.load_file(folder / 'net.safetensors')
    trained = run._load('latest').variables
    np.testing.assert_array_equal(
        arrays['params/head/kernel'], jax.device_get(trained['params']['head']['kernel'])
    )


def test_it_continues_with_the_same_examples(run, tmp_path, monkeypatch, caplog):
    ids = []

    def spy(*arguments, **options):
        for batch in train_batches(*arguments, **options):
            ids.append(batch['id'].tolist())
            yield batch

    train_batches = pipeline.train_batches
    monkeypatch.setattr(pipeline, 'train_batches', spy)
    folder = shutil.copytree(FIXTURES / 'run_0_1_0', tmp_path / 'run')
    config = run.config.copy_and_resolve_references()
    config.best_metric = 'auto'  # as the command says if the user does not
    with caplog.at_level(logging.INFO, logger='absl'):
        loop.train(config, folder, Terminal(io.StringIO()), StopRequest())
    assert 'is now' not in caplog.text
    assert ids == IDS
    continued = resnet_jax.Run(folder)
    assert continued.config.best_metric == 'top5'
    assert continued.metrics()['epoch'].tolist() == [1, 2, 3]
    assert continued.metrics()['validation_top1'][0] == run.metrics()['validation_top1'][0]
    assert continued.checkpoints()[-1].step == 15
