"""Training runs from start to end, in process: files, resume, what may change."""

import csv
import io
import json
import logging
import math
import re
import shutil
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from resnet_jax import base_config
from resnet_jax.monitoring.terminal import Terminal, Throughput, format_duration
from resnet_jax.training import loop
from resnet_jax.training.loop import Period
from resnet_jax.types import InputError

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
]

CLEAR = '\r\x1b[2K'


class FakeTerminal(io.StringIO):
    def isatty(self):
        return True


def make_config(**fields):
    """Digits, five steps an epoch, a constant rate: runs of seconds that may grow."""
    config = base_config.use_data(base_config.get_config(), 'digits')
    config.update_from_flattened_dict(
        {
            'num_epochs': 2,
            'batch_size': 256,
            'model.depth': 8,
            'model.width': 4,
            'optimizer.learning_rate': 0.05,
            'schedule.name': 'constant',
            'schedule.warmup_epochs': 0.0,
            'log_every_steps': 2,
        }
        | {name.replace('__', '.'): value for name, value in fields.items()}
    )
    return config


def train(folder, stream=None, **fields):
    stream = stream or io.StringIO()
    loop.train(make_config(**fields), folder, Terminal(stream))
    return stream.getvalue()


def read_rows(folder):
    """Returns the rows of the metrics, without the one column that is a measurement of time."""
    rows = list(csv.DictReader((folder / 'metrics.csv').open()))
    return [{key: row[key] for key in row if key != 'images_per_second'} for row in rows]


def read_state(folder, step):
    path = (folder / 'checkpoints' / str(step) / 'state').absolute()
    reader = ocp.PyTreeCheckpointer()
    as_numpy = jax.tree.map(
        lambda _: ocp.RestoreArgs(restore_type=np.ndarray),
        dict(reader.metadata(path).item_metadata.tree),
    )
    return reader.restore(path, restore_args=as_numpy)


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
    found = {path.name for path in straight_run.iterdir()}
    assert found >= {
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
        assert float(row['train_top1']) * 1280 == pytest.approx(
            round(float(row['train_top1']) * 1280), abs=1e-9
        )
    assert float(rows[1]['train_loss']) < float(rows[0]['train_loss'])


def test_tensorboard_has_the_scalars(straight_run):
    events = EventAccumulator(str(straight_run / 'tensorboard')).Reload()
    steps = {tag: [e.step for e in events.Tensors(tag)] for tag in events.Tags()['tensors']}
    for tag in ('train_loss', 'train_top1', 'train_top5', 'learning_rate', 'images_per_second'):
        assert steps[tag] == [2, 4, 6, 8, 10]
    for tag in ('validation_loss', 'validation_top1', 'validation_top5'):
        assert steps[tag] == [5, 10]


def test_the_same_command_again_says_complete_and_changes_nothing(straight_run, caplog):
    before = list_files(straight_run)
    with caplog.at_level(logging.INFO, logger='absl'):
        train(straight_run)
    assert 'complete' in caplog.text
    assert list_files(straight_run) == before


def test_a_run_that_was_continued_is_the_run_that_was_not(straight_run, one_epoch, tmp_path):
    folder = shutil.copytree(one_epoch, tmp_path / 'run')
    train(folder, num_epochs=2)
    assert read_rows(folder) == read_rows(straight_run)
    states = read_state(folder, 10), read_state(straight_run, 10)
    assert int(states[0]['step']) == 10
    jax.tree.map(np.testing.assert_array_equal, *states)
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
    found, given = read_state(folder, 5), read_state(straight_run, 10)
    for a, b in zip(
        jax.tree.leaves(found['params']), jax.tree.leaves(given['params']), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-7)
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
    assert '2, 5 never fire in a run of 2 epochs' in message
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
    folder = shutil.copytree(one_epoch, tmp_path / 'run')
    before, *lines, last = train(folder, FakeTerminal(), log_every_steps=4).split(CLEAR)
    assert before == last == ''
    assert [line.split('   ')[0] for line in lines] == [
        'epoch 1.6 of 2',
        'epoch 2.0 of 2',
    ]
    for line in lines:
        assert re.fullmatch(
            r'epoch .* of 2   loss \d\.\d{4}   top-5 \d+\.\d\d%   [\d,]+ images/s   .* left', line
        )


def test_on_a_pipe_there_is_no_progress_line():
    stream = io.StringIO()
    screen = Terminal(stream)
    screen.show_progress('epoch 1')
    screen.write('a log line\n')
    screen.show_progress('')
    assert stream.getvalue() == 'a log line\n'


def test_log_lines_come_above_the_progress_line(monkeypatch):
    monkeypatch.setenv('COLUMNS', '20')
    stream = FakeTerminal()
    screen = Terminal(stream)
    screen.write('first\n')
    screen.show_progress('epoch 1')
    screen.write('second\n')
    screen.show_progress('')
    screen.write('third\n')
    assert stream.getvalue() == (
        'first\n' + CLEAR + 'epoch 1' + CLEAR + 'second\nepoch 1' + CLEAR + 'third\n'
    )


def test_a_progress_line_is_never_wider_than_the_terminal(monkeypatch):
    monkeypatch.setenv('COLUMNS', '20')
    stream = FakeTerminal()
    Terminal(stream).show_progress('0123456789' * 3)
    assert stream.getvalue() == CLEAR + '0123456789012345678'


def test_a_period_is_due_at_its_multiples_and_at_the_end():
    period = Period(every=3, last=10)
    assert [step for step in range(1, 11) if period.is_due(step)] == [3, 6, 9, 10]


def test_throughput_counts_only_the_time_between_resume_and_pause(monkeypatch):
    now = iter([100.0, 102.0, 200.0, 202.0])
    monkeypatch.setattr(time, 'perf_counter', lambda: next(now))
    throughput = Throughput(batch_size=8)
    assert math.isnan(throughput.images_per_second())
    throughput.resume(5)
    throughput.pause(10)
    assert throughput.images_per_second() == 5 * 8 / 2
    throughput.resume(10)
    throughput.pause(21)
    assert throughput.images_per_second() == 16 * 8 / 4
    throughput.reset()
    throughput.pause(21)
    assert throughput.images_per_second() == 32


@pytest.mark.parametrize(
    ('seconds', 'text'),
    [
        (0, '0 s'),
        (9.4, '9 s'),
        (59.6, '1 min 0 s'),
        (130, '2 min 10 s'),
        (3599.7, '1 h 0 min'),
        (3900, '1 h 5 min'),
        (183600, '2 d 3 h'),
        (math.nan, '?'),
    ],
)
def test_durations_have_two_units(seconds, text):
    assert format_duration(seconds) == text
