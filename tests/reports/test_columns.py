"""Reading a run's tables as arrays: gaps, torn rows and damaged tables."""

import logging

import numpy as np
import pytest

from resnet_jax.errors import InputError
from resnet_jax.reports.columns import read_machine, read_metrics
from resnet_jax.storage.metrics_csv import METRICS_COLUMNS
from resnet_jax.storage.workdir import Workdir


@pytest.fixture
def run(tmp_path):
    return Workdir(tmp_path)


def test_columns_are_numbers_and_empty_cells_are_nan(run):
    (run.path / 'machine.csv').write_text('step,time_s,gpu0_power_w\n10,0.5,\n20,1.5,90\n')
    machine = read_machine(run)
    assert list(machine) == ['step', 'time_s', 'gpu0_power_w']
    assert machine['time_s'].tolist() == [0.5, 1.5]
    assert np.isnan(machine['gpu0_power_w'][0])
    assert machine['gpu0_power_w'][1] == 90


def test_a_run_without_tables_has_no_columns(run):
    assert read_machine(run) == {}
    assert read_metrics(run) == {}
    (run.path / 'machine.csv').write_text('step,time_s\n')
    assert read_machine(run) == {}


def test_metrics_are_read_by_name(run):
    run.write_metrics([dict.fromkeys(METRICS_COLUMNS, 'nan') | {'step': 5, 'epoch': 1}])
    metrics = read_metrics(run)
    assert list(metrics) == list(METRICS_COLUMNS)
    assert (metrics['step'].tolist(), metrics['epoch'].tolist()) == ([5], [1])
    assert np.isnan(metrics['train_loss']).all()


def test_numbers_too_large_to_draw_become_nan(run):
    (run.path / 'machine.csv').write_text('step,time_s,a,b\n1,1,1e300,-1e15\n')
    machine = read_machine(run)
    assert all(np.isnan(machine[name]).all() for name in 'ab')


@pytest.mark.parametrize('torn', ['2', '2,3', '2,30,4.', '"'])
def test_a_row_that_is_being_written_is_left_out(run, torn):
    (run.path / 'machine.csv').write_text('step,time_s,a\n1,10,2.5\n' + torn)
    assert {name: column.tolist() for name, column in read_machine(run).items()} == {
        'step': [1],
        'time_s': [10],
        'a': [2.5],
    }


HOSTILE_ROWS = {
    'a step of 5,000 digits': b'1' * 5000 + b',1' * 9,
    'a lone surrogate': b'7,1,\xed\xa0\x80' + b',1' * 7,
    'nul bytes': b'7,1,\0\0' + b',1' * 7,
    'too few cells': b'7,1',
    'too many cells': b'7' + b',1' * 40,
    'a word': b'7,1,many' + b',1' * 7,
    'an open quote': b'7,1,"1' + b',1' * 7,
    'a cell of a million letters': b'7,1,' + b'x' * 10**6 + b',1' * 7,
}


@pytest.mark.parametrize('row', HOSTILE_ROWS.values(), ids=HOSTILE_ROWS)
def test_a_damaged_row_of_metrics_is_bad_input_that_names_the_line(run, row):
    whole = '5' + ',1' * 9
    header = ','.join(METRICS_COLUMNS[:10])
    run.metrics_csv.write_bytes(f'{header}\n{whole}\n'.encode() + row + b'\n')
    with pytest.raises(
        InputError, match=r'metrics.csv: expected a table .*; found in line 3: '
    ) as e:
        read_metrics(run)
    assert len(str(e.value)) < 500 + len(str(run.path))


@pytest.mark.parametrize('row', HOSTILE_ROWS.values(), ids=HOSTILE_ROWS)
def test_a_damaged_row_of_the_machine_is_left_out_with_a_warning_that_names_the_line(
    run, row, caplog
):
    header = ','.join(['step', 'time_s', *'abcdefgh'])
    whole = '5' + ',1' * 9
    run.machine_csv.write_bytes(f'{header}\n{whole}\n'.encode() + row + b'\n')
    with caplog.at_level(logging.WARNING, logger='absl'):
        assert read_machine(run)['step'].tolist() == [5]
    assert (
        'machine.csv: damaged rows that are left out: 1, the first of them in line 3' in caplog.text
    )


@pytest.mark.parametrize('row', ['1', '1,2,3,4', '1,2,cat', '1,,2', '1,inf,2', 'x,2,3', '1,"2,3'])
def test_a_damaged_row_is_left_out(run, row):
    (run.path / 'machine.csv').write_text(f'step,time_s,a\n{row}\n7,8,9\n')
    machine = read_machine(run)
    assert {name: column.tolist() for name, column in machine.items()} == {
        'step': [7],
        'time_s': [8],
        'a': [9],
    }


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'expected a table'),
        ('a,b\n1,2\n', "begins with the columns step, time_s, found 'a,b'"),
        ('step,time_s,a,a\n1,1,1,1\n', 'begins with the columns'),
        ('step,time_s,a\n1,-1,2\n', 'expected a number of at least 0 in each row of time_s'),
    ],
)
def test_a_file_that_is_not_a_table_is_bad_input(text, message, run):
    (run.path / 'machine.csv').write_text(text)
    with pytest.raises(InputError, match=message) as error:
        read_machine(run)
    assert str(error.value).startswith(str(run.path / 'machine.csv'))


@pytest.mark.parametrize('epoch', ['', 'nan', 'inf', '-1', 'x', '1e99'])
def test_metrics_without_an_epoch_are_bad_input(epoch, run):
    run.write_metrics([dict.fromkeys(METRICS_COLUMNS, 1) | {'epoch': epoch}])
    with pytest.raises(InputError, match='metrics.csv: expected'):
        read_metrics(run)
