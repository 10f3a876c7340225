"""Evaluation of a checkpoint: other data, limits, progress."""

import io
import logging
import shutil

import numpy as np
import PIL.Image
import pytest
from support.running import CLEAR, FakeTerminal
from support.runs import make_config

import resnet_jax
from resnet_jax.checkpoints import reading
from resnet_jax.console import progress
from resnet_jax.console.signals import StopRequest
from resnet_jax.console.terminal import Terminal
from resnet_jax.data.sources import registry
from resnet_jax.training import loop


def write_images(folder, seed, numbers):
    """Writes images of noise, of which each class has a number, as `<folder>/<split>/<class>`."""
    rng = np.random.default_rng(seed)
    for split in ('train', 'validation'):
        for name, number in numbers.items():
            parent = folder / split / name
            parent.mkdir(parents=True)
            for index in range(number):
                pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
                PIL.Image.fromarray(pixels).save(parent / f'{index}.png')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A run on 24 images of two classes with the checkpoints 3 and 6, and its data."""
    folder = tmp_path_factory.mktemp('evaluation')
    write_images(folder / 'data', 0, {'cat': 12, 'dog': 12})
    config = make_config()
    config.num_epochs, config.batch_size, config.keep_checkpoints = 2, 8, 0
    config.schedule.boundaries_epochs = ()
    config.data.source, config.data.dir = 'folder', str(folder / 'data')
    config.data.augmentation, config.data.on_error = 'none', 'skip'
    loop.train(config, folder / 'run', Terminal(io.StringIO()), StopRequest())
    return folder


@pytest.fixture
def run(folder):
    return resnet_jax.Run(folder / 'run')


def test_a_run_is_evaluated_on_data_in_another_folder(run, tmp_path):
    write_images(tmp_path / 'data', 1, {'cat': 3, 'dog': 4})
    result = run.evaluate(data_dir=tmp_path / 'data')
    assert result.num_examples == 7
    assert result.confusion.sum() == 7 * 2  # both classes are among the five
    assert run.evaluate().num_examples == 24


def test_other_classes_in_the_other_folder_are_refused(run, tmp_path):
    write_images(tmp_path / 'data', 1, {'cat': 3, 'fox': 4})
    with pytest.raises(resnet_jax.InputError, match='fox'):
        run.evaluate(data_dir=tmp_path / 'data')


@pytest.mark.parametrize('fraction', [0, 0.5])
def test_the_message_about_missing_data_names_only_what_evaluate_can_take(run, tmp_path, fraction):
    run.config.data.validation_fraction = fraction
    write_images(tmp_path / 'train', 0, {'cat': 1})
    for place, advice in (('nothing', 'data_dir = .*No such file'), ('.', '--data_dir')):
        with pytest.raises(resnet_jax.InputError, match=advice) as refusal:
            run.evaluate(data_dir=tmp_path / place)
        assert '--config.' not in str(refusal.value)


def test_the_message_about_data_that_is_not_prepared_names_the_flag_of_the_command(run, tmp_path):
    run.config.data.update({'source': 'tfds', 'name': 'mnist'})
    with pytest.raises(resnet_jax.InputError, match='name that one with --data_dir'):
        run.evaluate(data_dir=tmp_path)
    run.config.data.dir = str(tmp_path)
    with pytest.raises(resnet_jax.InputError, match='name that one with --config.data.dir'):
        registry.load_source(run.config, 'train')


@pytest.mark.parametrize(
    'use',
    [lambda run: run.evaluate(checkpoint='latest').step, lambda run: run.predictor('latest')],
    ids=['evaluate', 'predictor'],
)
def test_the_latest_checkpoint_is_found_though_a_training_deletes_it(
    use, folder, tmp_path, monkeypatch
):
    copy = shutil.copytree(folder / 'run', tmp_path / 'run')
    checkpoints, read, steps = copy / 'checkpoints', reading.read_arrays, []
    later = shutil.move(checkpoints / '6', tmp_path)

    def train_and_read(folder, step, choose):
        if not steps:
            shutil.move(later, checkpoints)
            shutil.rmtree(checkpoints / '3')
        steps.append(step)
        return read(folder, step, choose)

    monkeypatch.setattr(reading, 'read_arrays', train_and_read)
    assert use(resnet_jax.Run(copy)) != 3
    assert steps == [3, 6]


def test_the_digits_have_no_other_folder(tmp_path):
    config = make_config()
    config.num_epochs = 1
    loop.train(config, tmp_path / 'run', Terminal(io.StringIO()), StopRequest())
    with pytest.raises(resnet_jax.InputError, match='expected none, because the digits'):
        resnet_jax.Run(tmp_path / 'run').evaluate(data_dir=tmp_path)


def test_with_few_classes_top1_chooses_the_best_checkpoint(run):
    assert run.leading_metric == 'top1'
    assert 'best top-1' in repr(run)


@pytest.mark.parametrize(
    ('arguments', 'limit'),
    [
        ({'batch_size': 10**12}, 'at least 1 and at most 1,000,000'),
        ({'batch_size': -1}, 'at least 1 and at most 1,000,000'),
        ({'audit_mxnet_r': 10**23}, 'at least 1 and at most 1,000,000'),
        ({'audit_mxnet_r': 0}, 'at least 1 and at most 1,000,000'),
        ({'split': 'test'}, 'validation, train'),
    ],
    ids=str,
)
def test_an_argument_that_is_out_of_range_is_refused_with_the_range(run, arguments, limit):
    with pytest.raises(resnet_jax.InputError, match=limit):
        run.evaluate(**arguments)


@pytest.mark.parametrize(('num_bad', 'fails'), [(2, False), (3, True), (24, True)])
def test_more_bad_images_than_the_limit_fail_an_evaluation(run, num_bad, fails, folder, tmp_path):
    write_images(tmp_path / 'data', 0, {'cat': 12, 'dog': 12})
    for path in sorted((tmp_path / 'data/validation').rglob('*.png'))[:num_bad]:
        path.write_bytes(b'no image')
    if fails:
        with pytest.raises(resnet_jax.RunFailed, match=r'at most 0.1 of the 24 images'):
            run.evaluate(data_dir=tmp_path / 'data')
    else:
        assert run.evaluate(data_dir=tmp_path / 'data').num_errors == num_bad


def test_progress_is_a_line_on_a_terminal_and_lines_of_the_log_elsewhere(run, monkeypatch, caplog):
    monkeypatch.setattr(progress, 'SECONDS_BETWEEN_LINES', {True: 0, False: 0})
    monkeypatch.setenv('COLUMNS', '200')
    screen = FakeTerminal()
    with caplog.at_level(logging.INFO, logger='absl'):
        run.evaluate(batch_size=8, screen=Terminal(screen))
        assert 'images/s' not in caplog.text
        run.evaluate(batch_size=8, screen=Terminal(io.StringIO()))
    lines = [line for line in screen.getvalue().split(CLEAR) if 'images/s' in line]
    assert [line.split('] ')[1].split(' images')[0] for line in lines] == [
        '8 of 24',
        '16 of 24',
        '24 of 24',
    ]
    assert screen.getvalue().endswith(CLEAR)
    assert len([text for text in caplog.messages if 'of 24 images' in text]) == 3
