"""The recipe for one's own photographs, configs/folder.py, with a smaller network."""

import io

import numpy as np
import PIL.Image
import pytest
from support import configs

from resnet_jax.config import checks
from resnet_jax.console.signals import StopRequest
from resnet_jax.console.terminal import Terminal
from resnet_jax.run import Run
from resnet_jax.training import loop

SMALL = {
    'num_epochs': 4,
    'num_devices': 1,
    'model.depth': 8,
    'model.width': 4,
    'model.stem': 'cifar',
    'data.image_size': 16,
    'data.resize_size': 18,
}
COLOURS = {'red': (200, 60, 60), 'green': (60, 200, 60), 'blue': (60, 60, 200)}


def write_photographs(root):
    """Writes 30 noisy pictures of each colour, of several sizes."""
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True)
        for number in range(30):
            height, width = rng.integers(20, 40, 2)
            levels = rng.normal(colour, 40, (height, width, 3)).clip(0, 255)
            PIL.Image.fromarray(levels.astype(np.uint8)).save(root / name / f'{number}.jpg')
    return root


def train(folder, data, **fields):
    config = configs.load('folder')
    config.data.dir = str(data)
    config.update_from_flattened_dict(SMALL | fields)
    checks.validate(config)
    loop.train(config, folder, Terminal(io.StringIO()), StopRequest())
    return Run(folder)


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
    return write_photographs(tmp_path_factory.mktemp('data') / 'my colours')


@pytest.fixture(scope='module')
def run(photographs, tmp_path_factory):
    return train(tmp_path_factory.mktemp('runs') / 'run', photographs)


def test_the_recipe_learns_from_a_plain_folder(run):
    rows = run.workdir.read_metrics()
    assert [int(row['step']) for row in rows] == [4 * epoch for epoch in range(1, 5)]
    assert float(rows[-1]['validation_top1']) > 0.8
    assert tuple(run.class_names()) == ('blue', 'green', 'red')


def test_a_run_has_the_name_of_its_folder(run):
    assert str(run).count('on my colours')
    assert 'imagenet' not in str(run)


def test_evaluation_reads_the_photographs_that_training_did_not(run):
    assert run.evaluate().num_examples == 18


def test_the_recipe_starts_from_the_weights_of_another_run(run, photographs, tmp_path):
    fields = {'initial_weights': str(run.workdir.path), 'num_epochs': 1}
    rows = train(tmp_path / 'run', photographs, **fields).workdir.read_metrics()
    assert float(rows[0]['train_loss']) < float(run.workdir.read_metrics()[0]['train_loss'])
