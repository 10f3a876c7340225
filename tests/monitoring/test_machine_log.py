"""`machine.csv`: a row every few steps, across kills, resumes and other machines."""

import csv
import io
import logging
import math
import shutil
import time

import pytest
from support.nvml import FakeNvml
from support.running import (
    DIGITS,
    SMALL,
    FakeTerminal,
    finish,
    read_tensorboard_steps,
    start,
    wait_until,
)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from resnet_jax.config import data_sets, schema
from resnet_jax.console.signals import StopRequest
from resnet_jax.console.terminal import Terminal
from resnet_jax.devices import nvidia
from resnet_jax.errors import InputError
from resnet_jax.monitoring.machine_log import MachineLog
from resnet_jax.storage.machine_csv import read_machine
from resnet_jax.training import loop

COLUMNS = [
    'step',
    'time_s',
    'host_cpu_percent',
    'host_memory_used_bytes',
    'process_memory_bytes',
    'images_per_second',
    'input_wait_fraction',
]


class FakeMachine:
    def __init__(self, **numbers):
        self.numbers = numbers

    def sample(self):
        return dict(self.numbers)


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'machine.csv'


def write_rows(path, steps, start_step=0, **numbers):
    log = MachineLog(path, FakeMachine(**numbers), start_step)
    for step in steps:
        log.add_row(step, {'images_per_second': 10.5})
    return log


def read_steps(path):
    return [int(row['step']) for row in read_machine(path)[1]]


def test_rows_are_those_that_were_written(path):
    log = MachineLog(path, FakeMachine(gpu0_power_w=149.5, gpu0_temperature_c=None), 0)
    assert log.add_row(10, {'images_per_second': math.nan}) == {'gpu0_power_w': 149.5}
    assert log.add_row(20, {'images_per_second': 99.5})['images_per_second'] == 99.5
    header, first, second, end = path.read_text().split('\n')
    assert header == 'step,time_s,gpu0_power_w,gpu0_temperature_c,images_per_second'
    assert (first.split(',')[0], first.split(',')[2:]) == ('10', ['149.5', '', ''])
    assert (second.split(',')[0], second.split(',')[2:]) == ('20', ['149.5', '', '99.5'])
    assert end == ''


def test_time_counts_from_the_first_step_and_continues_after_a_resume(path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, 'perf_counter', lambda: now[0])
    log = MachineLog(path, FakeMachine(x=1), 0)
    log.start_clock()
    for step in (10, 20, 30):
        now[0] += 2.5
        log.add_row(step, {})
    now[0] = 7.0  # another process, on another day
    log = MachineLog(path, FakeMachine(x=1), 25)
    log.start_clock()
    now[0] += 1.0
    log.add_row(30, {})
    assert [row['time_s'] for row in read_machine(path)[1]] == ['2.5', '5.0', '6.0']


def test_rows_after_the_resumed_step_are_dropped_at_once(path):
    write_rows(path, [10, 20, 30, 40], x=1)
    MachineLog(path, FakeMachine(x=1), 25)
    assert read_steps(path) == [10, 20]
    write_rows(path, [30, 40], start_step=25, x=1)
    assert read_steps(path) == [10, 20, 30, 40]
    MachineLog(path, FakeMachine(x=1), 0)
    assert read_steps(path) == []


def test_a_file_cut_short_at_any_byte_keeps_its_whole_rows_and_gets_new_ones(path, tmp_path):
    write_rows(path, [10, 20, 30], x=1.25, y=7)
    whole = path.read_bytes()
    header = whole.index(b'\n') + 1
    for size in range(header, len(whole)):
        torn = tmp_path / f'{size}.csv'
        torn.write_bytes(whole[:size])
        write_rows(torn, [40], start_step=30, x=1.25, y=7)
        text = torn.read_text().splitlines()
        assert text[:-1] == whole[:size].decode().split('\n')[: whole[:size].count(b'\n')]
        assert read_steps(torn)[-1] == 40


@pytest.mark.parametrize(
    'damaged_row',
    [b'\0\0\0\0\n', b'20,1.0\n', b'20,x,1,10.5\n', b'20,,1,10.5\n', b'\xff\xfe,1,1,1\n'],
)
def test_a_damaged_row_is_left_out_with_a_warning(path, damaged_row, caplog):
    write_rows(path, [10], x=1)
    path.write_bytes(path.read_bytes() + damaged_row)
    with caplog.at_level(logging.WARNING, logger='absl'):
        write_rows(path, [30], start_step=20, x=1)
    assert 'damaged rows that are left out: 1' in caplog.text
    assert read_steps(path) == [10, 30]


def test_another_machine_adds_columns_and_leaves_cells_empty(path):
    write_rows(path, [10], x=1)
    write_rows(path, [20], start_step=10, gpu0_power_w=50.0, y=2)
    write_rows(path, [30], start_step=20, x=3)
    columns, rows = read_machine(path)
    assert columns == ('step', 'time_s', 'x', 'images_per_second', 'gpu0_power_w', 'y')
    assert [(row['x'], row['gpu0_power_w'], row['y']) for row in rows] == [
        ('1', '', ''),
        ('', '50.0', '2'),
        ('3', '', ''),
    ]
    assert {row['images_per_second'] for row in rows} == {'10.5'}


def test_a_row_is_appended_and_the_rest_is_not_written_again(path):
    log = write_rows(path, [10], x=1)
    inode = path.stat().st_ino
    for step in range(20, 1000, 10):
        log.add_row(step, {'images_per_second': 1.0})
    assert path.stat().st_ino == inode  # replacing the file would change it
    assert len(read_steps(path)) == 99


def test_a_deleted_file_is_created_again(path):
    log = write_rows(path, [10], x=1)
    path.unlink()
    log.add_row(20, {'images_per_second': 1.0})
    assert read_steps(path) == [20]


@pytest.mark.parametrize('text', ['', 'hello\n', 'step,epoch\n1,2\n', 'step,time_s,x,x\n'])
def test_another_file_of_that_name_is_refused_and_kept(path, text):
    path.write_text(text)
    with pytest.raises(
        InputError,
        match='machine.csv: expected a table .* Fix or delete it; a new one will be created',
    ):
        MachineLog(path, FakeMachine(), 0)
    assert path.read_text() == text


def test_a_row_whose_file_became_a_folder_fails_with_a_message(path):
    log = write_rows(path, [10], x=1)
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match='machine.csv: expected a regular file .* found a folder'):
        log.add_row(20, {'images_per_second': 1.0})


def make_config(**fields):
    config = data_sets.use_data(schema.get_config(), 'digits')
    config.update_from_flattened_dict(
        {
            'num_epochs': 1,
            'batch_size': 256,
            'model.depth': 8,
            'model.width': 4,
            'schedule.name': 'constant',
            'schedule.warmup_epochs': 0.0,
            'log_every_steps': 2,
            'checkpoint_every_steps': 3,
        }
        | fields
    )
    return config


def train(folder, stream=None, **fields):
    loop.train(make_config(**fields), folder, Terminal(stream or io.StringIO()), StopRequest())


@pytest.fixture(scope='module')
def one_epoch(tmp_path_factory):
    folder = tmp_path_factory.mktemp('one_epoch') / 'run'
    train(folder)
    return folder


def test_a_run_writes_a_row_whenever_it_logs(one_epoch):
    with (one_epoch / 'machine.csv').open() as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    assert reader.fieldnames == COLUMNS
    assert [row['step'] for row in rows] == ['2', '4', '5']
    times = [float(row['time_s']) for row in rows]
    assert 0 < times[0] < times[1] < times[2]
    assert all(float(row['images_per_second']) > 0 for row in rows)


def test_tensorboard_has_the_counters(one_epoch):
    for name in COLUMNS[2:]:
        assert read_tensorboard_steps(one_epoch, f'machine/{name}') == [2, 4, 5]


def test_the_tags_of_tensorboard_are_in_groups_and_the_speed_has_one(one_epoch):
    tags = EventAccumulator(str(one_epoch / 'tensorboard')).Reload().Tags()['tensors']
    assert {tag.partition('/')[0] for tag in tags} == {'train', 'validation', 'machine'}
    assert [tag for tag in tags if 'images_per_second' in tag] == ['machine/images_per_second']


def test_a_complete_run_that_is_started_again_changes_no_event_and_no_row(one_epoch, tmp_path):
    folder = shutil.copytree(one_epoch, tmp_path / 'run')
    files = [folder / 'machine.csv', *sorted((folder / 'tensorboard').iterdir())]
    before = [path.read_bytes() for path in files]
    train(folder)
    assert [folder / 'machine.csv', *sorted((folder / 'tensorboard').iterdir())] == files
    assert [path.read_bytes() for path in files] == before


def test_a_continued_run_drops_the_rows_of_steps_that_run_again(one_epoch, tmp_path, monkeypatch):
    folder = shutil.copytree(one_epoch, tmp_path / 'run')
    shutil.rmtree(folder / 'checkpoints' / '5')
    monkeypatch.setattr(nvidia, 'pynvml', FakeNvml(count=1))
    train(folder, num_epochs=2)
    _, rows = read_machine(folder / 'machine.csv')
    assert [row['step'] for row in rows] == ['2', '4', '6', '8', '10']
    assert [row['step'] for row in rows if row['gpu0_power_w'] == '149.5'] == ['4', '6', '8', '10']
    assert read_tensorboard_steps(folder, 'machine/host_cpu_percent')[-3:] == [6, 8, 10]


def test_the_log_stays_readable(one_epoch, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger='absl'):
        train(tmp_path / 'run')
    assert 'images_per_second=' in caplog.text
    assert 'host_cpu_percent' not in caplog.text
    assert ' 1 epoch of 5 steps of 256 images on ' in caplog.text
    assert ': complete, 1 epoch is done; ' in caplog.text
    train(tmp_path / 'terminal', FakeTerminal())
    assert read_machine(tmp_path / 'terminal' / 'machine.csv')[1]


@pytest.mark.slow
def test_a_run_continues_the_table_of_a_killed_process(tmp_path):
    folder = tmp_path / 'run'
    flags = (*SMALL, '--config.num_epochs=40', '--config.log_every_steps=1')
    path = folder / 'machine.csv'
    process = start(DIGITS, folder, *flags)
    wait_until(lambda: path.exists() and len(path.read_text()) > 2000, process)
    process.kill()
    process.communicate()
    before = read_steps(path)
    assert before == list(range(1, len(before) + 1))
    finish(start(DIGITS, folder, *flags))
    assert read_steps(path) == list(range(1, 441))
    times = [float(row['time_s']) for row in read_machine(path)[1]]
    assert times == sorted(times)
