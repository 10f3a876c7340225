"""Runs that switch between `scan_blocks` on and off."""

import csv

import jax
import numpy as np
import pytest
from support.running import read_state

from resnet_jax import Run
from resnet_jax.console.signals import StopRequest
from resnet_jax.console.terminal import Terminal
from resnet_jax.training import loop

pytestmark = pytest.mark.slow


def leaf_at(tree, path):
    for key in path:
        tree = tree[key.key]
    return tree


def train(config, folder, scan_blocks, num_epochs):
    config = config.copy_and_resolve_references()
    config.num_epochs, config.model.scan_blocks = num_epochs, scan_blocks
    with (folder.parent / f'{folder.name}.log').open('a') as log:
        loop.train(config, folder, Terminal(log), StopRequest())


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """Runs of two epochs: without loops, with loops, and with loops in the first epoch only."""
    from resnet_jax.config import data_sets, schema

    config = data_sets.use_data(schema.get_config(), 'digits')
    config.model.depth, config.model.width = 20, 4
    config.batch_size = 1280  # a step an epoch: rounding grows with every step
    config.schedule.boundaries_epochs = ()
    config.schedule.warmup_epochs = 0.0
    config.schedule.name = 'constant'
    config.optimizer.learning_rate = 0.001
    config.ema_decay = 0.9
    folder = tmp_path_factory.mktemp('runs')
    settings = {'plain': [False] * 2, 'looped': [True] * 2, 'mixed': [True, False]}
    for name, scan_blocks_by_epoch in settings.items():
        for num_epochs, scan_blocks in enumerate(scan_blocks_by_epoch, 1):
            train(config, folder / name, scan_blocks, num_epochs)
    return folder


@pytest.mark.parametrize('name', ['looped', 'mixed'])
def test_a_run_can_switch_between_loops_and_no_loops(runs, name):
    expected, actual = read_state(runs / 'plain', 2), read_state(runs / name, 2)
    assert jax.tree.structure(expected) == jax.tree.structure(actual)
    for path, plain in jax.tree_util.tree_leaves_with_path(expected['params']):
        np.testing.assert_allclose(
            leaf_at(actual['params'], path), plain, atol=1e-5, err_msg=str(path)
        )
    # Some of a million activations are 0 but for rounding. ReLU's gradient jumps there, so single
    # sums over the images differ by 0.2 %.
    for plain, looped in zip(jax.tree.leaves(expected), jax.tree.leaves(actual), strict=True):
        np.testing.assert_allclose(looped, plain, rtol=0, atol=5e-3 * np.abs(plain).max())
    rows = [list(csv.DictReader((runs / run / 'metrics.csv').open())) for run in ('plain', name)]
    for plain, looped in zip(*rows, strict=True):
        assert float(looped['train_loss']) == pytest.approx(float(plain['train_loss']), rel=1e-4)


def test_runs_with_and_without_loops_are_evaluated_and_exported_alike(runs, tmp_path):
    plain, looped = (Run(runs / name) for name in ('plain', 'looped'))
    assert looped.config.model.scan_blocks
    assert looped.evaluate(checkpoint='latest').loss == pytest.approx(
        plain.evaluate(checkpoint='latest').loss, rel=1e-4
    )
    image = np.full((8, 8, 3), 90, np.uint8)
    [expected], [actual] = (run.predictor('latest').predict([image]) for run in (plain, looped))
    assert actual[0].name == expected[0].name
    looped.export(tmp_path / 'model.safetensors', file_format='safetensors')
    assert b'stage2_block3/conv1/kernel' in (tmp_path / 'model.safetensors').read_bytes()
