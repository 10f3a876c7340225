"""Complete training runs in this process: their files, continuing them, fields that can change."""

import csv
import io
import json
import logging
import re
import shutil
import signal
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from clu import metric_writers
from support.running import (
    CLEAR,
    FakeTerminal,
    assert_same_state,
    read_rows,
    read_state,
    read_tensorboard_steps,
)

from resnet_jax.checkpoints import reading
from resnet_jax.checkpoints.writing import CheckpointWriter
from resnet_jax.config import data_sets, schema
from resnet_jax.console.signals import StopRequest
from resnet_jax.console.terminal import Terminal
from resnet_jax.data import pipeline
from resnet_jax.errors import InputError, RunFailed, Stopped
from resnet_jax.training import loop, metrics_logger, schedules
from resnet_jax.training.metrics_logger import MetricsLogger

COLUMNS = [
    'step',
    'epoch',
    'learning_rate',
    'train_loss',
    'train_top1',
    'train_top5',
    'validation_loss',
    'validation_top1',
    'validation_top5',
    'images_per_second',
    'input_wait_fraction',
]


def make_config(**fields):
    """Returns a config for digits: five steps an epoch, a constant learning rate, a few seconds."""
    config = data_sets.use_data(schema.get_config(), 'digits')
    config.update_from_flattened_dict(
        {
            'num_epochs': 2,
            'batch_size': 256,
            'model.depth': 8,
            'model.width': 4,
            'model.batch_norm_momentum': 0.9,
            'ema_decay': 0.0,
            'optimizer.learning_rate': 0.05,
            'schedule.name': 'constant',
            'schedule.warmup_epochs': 0.0,
            'log_every_steps': 2,
        }
        | {name.replace('__', '.'): value for name, value in fields.items()}
    )
    return config


def train(folder, stream=None, request=None, **fields):
    stream = stream or io.StringIO()
    loop.train(make_config(**fields), folder, Terminal(stream), request or StopRequest())
    return stream.getvalue()


def list_files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob('*') if path.is_file()}


@pytest.fixture(scope='module')
def straight_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp('straight') / 'run'
    train(folder)
    return folder


@pytest.fixture(scope='module')
def one_epoch(tmp_path_factory):
    folder = tmp_path_factory.mktemp('one_epoch') / 'run'
    train(folder, num_epochs=1)
    return folder


def test_a_run_leaves_its_files(straight_run):
    names = {path.name for path in straight_run.iterdir()}
    assert names >= {
        'config.json',
        'environment.json',
        'class_names.txt',
        'checkpoints',
        'metrics.csv',
        'tensorboard',
    }
    assert {path.name for path in (straight_run / 'checkpoints').iterdir()} == {'5', '10'}
    assert (straight_run / 'class_names.txt').read_text() == '0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n'
    config = json.loads((straight_run / 'config.json').read_text())
    assert config['model']['depth'] == 8
    assert config['data']['mean'] == [77.9, 77.9, 77.9]
    environment = json.loads((straight_run / 'environment.json').read_text())
    assert environment['packages']['jax'] == jax.__version__
    assert len(environment['devices']) == 4
    assert not list(straight_run.rglob('*.tmp'))


def test_there_is_a_row_for_every_evaluation(straight_run):
    with (straight_run / 'metrics.csv').open() as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    assert reader.fieldnames == COLUMNS
    assert [(row['step'], row['epoch']) for row in rows] == [('5', '1'), ('10', '2')]
    for row in rows:
        assert float(row['learning_rate']) == pytest.approx(0.05)
        assert 0 < float(row['train_loss']) < 5
        assert 0 < float(row['validation_loss']) < 5
        assert 0 <= float(row['train_top1']) <= float(row['train_top5']) <= 1
        assert 0 <= float(row['validation_top1']) <= float(row['validation_top5']) <= 1
        assert float(row['images_per_second']) > 0
        assert 0 <= float(row['input_wait_fraction']) <= 1
        assert float(row['train_top1']) * 1280 == pytest.approx(
            round(float(row['train_top1']) * 1280), abs=1e-9
        )
    assert float(rows[1]['train_loss']) < float(rows[0]['train_loss'])


def test_tensorboard_has_the_scalars(straight_run):
    for tag in (
        'train/loss',
        'train/top1',
        'train/top5',
        'train/learning_rate',
        'machine/images_per_second',
    ):
        assert read_tensorboard_steps(straight_run, tag) == [2, 4, 6, 8, 10]
    for tag in ('validation/loss', 'validation/top1', 'validation/top5'):
        assert read_tensorboard_steps(straight_run, tag) == [5, 10]


def test_the_same_command_again_says_complete_and_changes_nothing(straight_run, caplog):
    before = list_files(straight_run)
    with caplog.at_level(logging.INFO, logger='absl'):
        train(straight_run)
    assert 'complete' in caplog.text
    assert list_files(straight_run) == before


def test_a_continued_run_equals_one_that_was_not_interrupted(straight_run, one_epoch, tmp_path):
    folder = shutil.copytree(one_epoch, tmp_path / 'run')
    train(folder, num_epochs=2)
    assert read_rows(folder) == read_rows(straight_run)
    assert int(read_state(folder, 10)['step']) == 10
    assert_same_state(folder, straight_run, 10)
    assert json.loads((folder / 'config.json').read_text())['num_epochs'] == 2


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('seed', 1),
        ('num_epochs', 1),
        ('batch_size', 128),
        ('model.width', 8),
        ('data.augmentation', 'none'),
        ('optimizer.learning_rate', 0.1),
        ('ema_decay', 0.9),
    ],
)
def test_a_field_that_changes_the_numbers_is_refused(straight_run, field, value):
    before = list_files(straight_run)
    with pytest.raises(InputError, match=f'{field}.*{value}') as error:
        train(straight_run, **{field: value})
    assert len(str(error.value).splitlines()) == 3
    assert list_files(straight_run) == before


def test_free_fields_are_logged_and_written(one_epoch, tmp_path, caplog):
    folder = shutil.copytree(one_epoch, tmp_path / 'run')
    with caplog.at_level(logging.INFO, logger='absl'):
        train(
            folder,
            num_epochs=2,
            num_devices=2,
            log_every_steps=5,
            keep_checkpoints=1,
            data__prefetch_batches=1,
            data__num_threads=1,
        )
    config = json.loads((folder / 'config.json').read_text())
    assert (config['num_epochs'], config['num_devices'], config['keep_checkpoints']) == (2, 2, 1)
    assert config['data']['prefetch_batches'] == 1
    for field in ('num_epochs', 'num_devices', 'log_every_steps', 'data.num_threads'):
        assert f'config.{field} is now' in caplog.text
    assert 'the run continues on 2 devices instead of 4: batch norm computes' in caplog.text
    environment = json.loads((folder / 'environment.json').read_text())
    assert len(environment['devices']) == 2
    assert [row['step'] for row in read_rows(folder)] == ['5', '10']


def test_a_run_starts_from_the_weights_of_another(straight_run, tmp_path):
    folder = tmp_path / 'run'
    train(
        folder,
        initial_weights=str(straight_run),
        num_epochs=1,
        optimizer__learning_rate=1e-12,
        optimizer__nesterov=False,
        model__batch_norm_momentum=0.999,
    )
    rows = read_rows(folder)
    assert [row['step'] for row in rows] == ['5']
    after, before = read_state(folder, 5), read_state(straight_run, 10)
    for array, expected in zip(
        jax.tree.leaves(after['params']), jax.tree.leaves(before['params']), strict=True
    ):
        np.testing.assert_allclose(array, expected, rtol=0, atol=1e-7)
    accuracy = float(read_rows(straight_run)[-1]['validation_top1'])
    assert float(rows[0]['validation_top1']) == pytest.approx(accuracy, abs=3 / 360)


def test_weights_of_another_architecture_are_refused_array_by_array(straight_run, tmp_path):
    with pytest.raises(InputError) as error:
        train(tmp_path / 'run', initial_weights=str(straight_run), model__depth=14)
    message = str(error.value)
    assert str(straight_run) in message
    assert 'stage1_block2/conv1/kernel: expected (3, 3, 4, 4), found nothing' in message
    assert 'stage1_block1/' not in message
    assert not (tmp_path / 'run' / 'config.json').exists()


def test_initial_weights_that_are_not_a_run_are_an_error(tmp_path):
    with pytest.raises(InputError, match='nowhere'):
        train(tmp_path / 'run', initial_weights=str(tmp_path / 'nowhere'))


def test_sums_of_metrics_survive_a_checkpoint_between_evaluations(tmp_path, caplog):
    fields = {
        'evaluate_every_epochs': 2,
        'schedule__name': 'step',
        'schedule__boundaries_epochs': (1.0, 2.0, 5.0),
    }
    whole, cut = tmp_path / 'whole', tmp_path / 'cut'
    with caplog.at_level(logging.INFO, logger='absl'):
        train(whole, **fields)
    assert [row['step'] for row in read_rows(whole)] == ['10']
    assert {path.name for path in (whole / 'checkpoints').iterdir()} == {'5', '10'}
    [message] = [text for text in caplog.messages if 'boundaries_epochs' in text]
    assert '2, 5 have no effect in a run of 2 epochs' in message
    shutil.copytree(whole, cut)
    shutil.rmtree(cut / 'checkpoints' / '10')
    (cut / 'metrics.csv').unlink()
    train(cut, **fields)
    assert read_rows(cut) == read_rows(whole)
    assert float(read_rows(cut)[0]['learning_rate']) == pytest.approx(0.005)


def test_splits_with_different_classes_are_an_error(tmp_path):
    import PIL.Image

    for split, name in [('train', 'cat'), ('train', 'dog'), ('validation', 'cat')]:
        (tmp_path / split / name).mkdir(parents=True)
        PIL.Image.new('RGB', (8, 8)).save(tmp_path / split / name / '1.png')
    with pytest.raises(InputError, match='same classes.*dog') as error:
        train(
            tmp_path / 'run',
            data__source='folder',
            data__dir=str(tmp_path),
            batch_size=4,
        )
    assert 'cat' not in str(error.value)
    assert not (tmp_path / 'run').exists()


def test_fewer_examples_than_a_batch_are_an_error(tmp_path):
    with pytest.raises(InputError, match='batch_size = 1440.*1437'):
        train(tmp_path / 'run', batch_size=1440)
    assert not (tmp_path / 'run').exists()


def test_a_batch_that_four_devices_cannot_share_is_an_error(tmp_path):
    with pytest.raises(InputError, match='batch_size = 130.*128 or 132'):
        train(tmp_path / 'run', batch_size=130)
    assert not (tmp_path / 'run').exists()


def test_on_a_terminal_a_progress_line_is_replaced_and_taken_away(one_epoch, tmp_path, monkeypatch):
    monkeypatch.setenv('COLUMNS', '120')
    monkeypatch.setattr(metrics_logger, 'NOTABLE_WAIT', 1.0)  # independent of the machine's load
    folder = shutil.copytree(one_epoch, tmp_path / 'run')
    before, *lines, last = train(folder, FakeTerminal(), log_every_steps=4).split(CLEAR)
    assert before == last == ''
    assert [line.split('   ')[0] for line in lines] == [
        'epoch 1.6 of 2',
        'epoch 2.0 of 2',
    ]
    for line in lines:
        assert re.fullmatch(
            r'epoch .* of 2   loss \d\.\d{4}   top-1 \d+\.\d\d%   [\d,]+ images/s   .* left', line
        )


def poison_the_weights_after(bad_step, monkeypatch):
    """Makes a step return weights that are nan."""
    make_train_step = loop.make_train_step

    def make_poisoned_step(*arguments):
        train_step = make_train_step(*arguments)

        def poisoned_step(state, batch):
            state, metrics = train_step(state, batch)
            factor = jnp.where(state.step == bad_step, jnp.nan, 1.0)
            params = jax.tree.map(lambda array: array * factor, state.params)
            return state.replace(params=params), metrics

        return poisoned_step

    monkeypatch.setattr(loop, 'make_train_step', make_poisoned_step)


@pytest.mark.parametrize(
    ('bad_step', 'message'),
    [
        (6, '^step 7: expected a finite loss, found nan'),
        (10, '^steps 6 to 10: expected finite parameters'),  # before a loss is computed with them
    ],
)
def test_numbers_that_are_not_finite_stop_the_run_and_are_never_saved(
    one_epoch, straight_run, tmp_path, monkeypatch, bad_step, message
):
    folder = shutil.copytree(one_epoch, tmp_path / 'run')
    saved = list_files(folder / 'checkpoints')
    steps_done = []
    add = MetricsLogger.add
    with monkeypatch.context() as patch:
        poison_the_weights_after(bad_step, patch)
        patch.setattr(
            MetricsLogger, 'add', lambda self, *args: steps_done.append(args[0]) or add(self, *args)
        )
        with pytest.raises(RunFailed, match=message):
            train(folder, num_epochs=2, log_every_steps=2)
    assert steps_done[-1] <= bad_step + 1 + 2
    assert list_files(folder / 'checkpoints') == saved
    assert read_rows(folder) == read_rows(one_epoch)

    train(folder, num_epochs=2)
    assert read_rows(folder) == read_rows(straight_run)
    assert_same_state(folder, straight_run, 10)


def test_a_learning_rate_that_makes_the_loss_nan_stops_the_run(tmp_path, caplog, monkeypatch):
    make_schedule = schedules.make_schedule

    def make_exploding_schedule(*arguments):
        schedule = make_schedule(*arguments)
        return lambda step: jnp.where(step < 5, schedule(step), 1e30)

    monkeypatch.setattr(schedules, 'make_schedule', make_exploding_schedule)
    failures = []
    for _ in range(2):
        with (
            caplog.at_level(logging.INFO, logger='absl'),
            pytest.raises(RunFailed, match='expected a finite loss, found (nan|inf)') as failure,
        ):
            train(tmp_path, log_every_steps=1)
        failures.append(str(failure.value))
        assert [path.name for path in (tmp_path / 'checkpoints').iterdir()] == ['5']
        assert [row['step'] for row in read_rows(tmp_path)] == ['5']
    assert caplog.text.count('continuing from step 5') == 1
    assert failures[0] == failures[1]
    assert int(re.match(r'step (\d+):', failures[0])[1]) in (7, 8)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(read_state(tmp_path, 5)['params']))


class StopInTheFirstEvaluation(StopRequest):
    """Request to stop before the second batch of the first evaluation."""

    def __init__(self):
        super().__init__()
        self.num_checks = 0

    def raise_if_made(self):
        self.num_checks += 1
        if self.num_checks == 3:  # the first check is before the first step
            self.signal = signal.SIGTERM
        super().raise_if_made()


@pytest.fixture(scope='module')
def stopped_in_evaluation(tmp_path_factory):
    folder = tmp_path_factory.mktemp('stopped') / 'run'
    with pytest.raises(Stopped, match='at step 5 of 10') as stop:
        train(folder, request=StopInTheFirstEvaluation())
    assert stop.value.number == signal.SIGTERM
    return folder


def test_a_run_that_was_stopped_in_an_evaluation_repeats_it(
    stopped_in_evaluation, straight_run, tmp_path
):
    folder = shutil.copytree(stopped_in_evaluation, tmp_path / 'run')
    assert reading.read_metadata(folder / 'checkpoints', 5).scores is None
    assert not (folder / 'metrics.csv').exists()
    train(folder)
    assert read_rows(folder) == read_rows(straight_run)
    for step in (5, 10):
        assert_same_state(folder, straight_run, step)
        assert reading.read_metadata(folder / 'checkpoints', step) == (
            reading.read_metadata(straight_run / 'checkpoints', step)
        )
    for tag in ('train/loss', 'validation/loss'):
        assert read_tensorboard_steps(folder, tag) == read_tensorboard_steps(straight_run, tag)


def test_a_row_whose_scores_were_not_saved_is_not_repeated(
    stopped_in_evaluation, straight_run, tmp_path, monkeypatch
):
    class Killed(BaseException):
        pass

    def die(*_):
        raise Killed

    folder = shutil.copytree(stopped_in_evaluation, tmp_path / 'run')
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(CheckpointWriter, 'replace', die)
        train(folder)
    assert [row['step'] for row in read_rows(folder)] == ['5']
    train(folder)
    assert read_rows(folder) == read_rows(straight_run)


def test_a_request_before_the_first_step_leaves_nothing_to_continue(tmp_path):
    request = StopRequest()
    request.signal = signal.SIGINT
    with pytest.raises(Stopped, match='SIGINT before the first step; run the same command') as stop:
        train(tmp_path / 'run', request=request)
    assert stop.value.number == signal.SIGINT
    assert not (tmp_path / 'run' / 'config.json').exists()


def test_the_step_that_is_compiled_while_the_first_batch_is_made_is_the_one_that_is_called(
    tmp_path, monkeypatch, caplog
):
    compiled = threading.Event()
    compile_step, make_batches = loop._compile_train_step, pipeline.train_batches
    make_step, num_traces = loop.make_train_step, []

    def make_and_count_traces(*arguments):
        train_step = make_step(*arguments)

        def counted(state, batch):
            num_traces.append(1)
            return train_step(state, batch)

        return counted

    def compile_and_tell(*arguments):
        with jax.log_compiles(), caplog.at_level(logging.WARNING):
            compiled_step = compile_step(*arguments)
        assert caplog.text.count('Finished XLA compilation') == 1
        compiled.set()

        def p_train_step(state, batch):
            with jax.log_compiles(), caplog.at_level(logging.WARNING):
                return compiled_step(state, batch)

        return p_train_step

    def wait_and_make_batches(*arguments, **options):
        assert compiled.wait(timeout=100)
        yield from make_batches(*arguments, **options)

    monkeypatch.setattr(loop, 'make_train_step', make_and_count_traces)
    monkeypatch.setattr(loop, '_compile_train_step', compile_and_tell)
    monkeypatch.setattr(pipeline, 'train_batches', wait_and_make_batches)
    train(tmp_path, num_epochs=1)
    assert caplog.text.count('Finished XLA compilation') == 1
    assert len(num_traces) == 1


def test_scalars_are_on_the_disk_before_the_next_checkpoint(tmp_path, monkeypatch):
    save, write = CheckpointWriter.save, metric_writers.SummaryWriter.write_scalars
    on_disk = {}

    def look_and_save(self, state, metadata):
        on_disk[metadata.step] = read_tensorboard_steps(tmp_path, 'train/loss')
        save(self, state, metadata)

    def write_slowly(self, step, scalars):
        time.sleep(0.3)
        write(self, step, scalars)

    monkeypatch.setattr(CheckpointWriter, 'save', look_and_save)
    monkeypatch.setattr(metric_writers.SummaryWriter, 'write_scalars', write_slowly)
    train(tmp_path, num_epochs=1, checkpoint_every_steps=2, log_every_steps=1)
    assert on_disk == {2: [1, 2], 4: [1, 2, 3, 4], 5: [1, 2, 3, 4, 5]}


def test_tensorboard_drops_the_steps_of_a_run_that_saved_nothing(tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(RunFailed):
        poison_the_weights_after(3, patch)
        train(tmp_path, num_epochs=1, log_every_steps=1)
    train(tmp_path, num_epochs=1, log_every_steps=1)
    assert read_tensorboard_steps(tmp_path, 'train/loss') == [1, 2, 3, 4, 5]


def test_a_run_is_not_continued_on_other_data(tmp_path):
    import PIL.Image

    def add(split, name, file):
        (tmp_path / split / name).mkdir(parents=True, exist_ok=True)
        PIL.Image.new('RGB', (8, 8)).save(tmp_path / split / name / f'{file}.png')

    for split in ('train', 'validation'):
        for name in ('ant', 'bee'):
            for file in range(4):
                add(split, name, file)
    flags = {'data__source': 'folder', 'data__dir': str(tmp_path), 'batch_size': 4}
    train(tmp_path / 'run', num_epochs=1, **flags)
    before = list_files(tmp_path / 'run')

    add('train', 'ant', 'another')
    with pytest.raises(InputError, match=r'expected \[8, 8\] .* found \[9, 8\]'):
        train(tmp_path / 'run', num_epochs=2, **flags)
    (tmp_path / 'train' / 'ant' / 'another.png').unlink()
    for split in ('train', 'validation'):
        (tmp_path / split / 'ant').rename(tmp_path / split / 'cat')
    with pytest.raises(InputError, match="found 'ant' and 'bee' at index 0"):
        train(tmp_path / 'run', num_epochs=2, **flags)
    assert list_files(tmp_path / 'run').keys() >= before.keys()
    assert (tmp_path / 'run' / 'class_names.txt').read_text() == 'ant\nbee\n'
    for split in ('train', 'validation'):
        (tmp_path / split / 'cat').rename(tmp_path / split / 'ant')
    train(tmp_path / 'run', num_epochs=2, **flags)
    assert [row['epoch'] for row in read_rows(tmp_path / 'run')] == ['1', '2']
