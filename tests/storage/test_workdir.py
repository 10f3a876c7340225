"""The folder of a run: hostile paths, class names, and steps in tables and names of files."""

import io
import os

import pytest

from resnet_jax.config import data_sets, schema
from resnet_jax.console.signals import StopRequest
from resnet_jax.console.terminal import Terminal
from resnet_jax.errors import InputError
from resnet_jax.storage.machine_csv import read_machine
from resnet_jax.storage.metrics_csv import METRICS_COLUMNS
from resnet_jax.storage.steps import parse_step
from resnet_jax.storage.workdir import Workdir
from resnet_jax.training import loop

HUGE = '1' * 5000
"""Python refuses to read a number of so many digits."""

NO_STEPS = ('', '-1', '+1', '01', '1.0', '1e3', '²', '١', ' 1', '1\n', str(2**63), HUGE)


@pytest.mark.parametrize('text', NO_STEPS)
def test_what_no_program_writes_is_no_step(text):
    assert parse_step(text) is None


@pytest.mark.parametrize('step', [0, 1, 10, 10**17])
def test_a_step_is_read_as_it_is_written(step):
    assert parse_step(str(step)) == step


@pytest.mark.parametrize('text', [text for text in NO_STEPS if '\n' not in text])
def test_a_row_without_a_step_is_damaged(text, tmp_path, caplog):
    run = Workdir(tmp_path)
    run.metrics_csv.write_text(','.join(METRICS_COLUMNS) + f'\n{text},1,1,1,1,1,1,1,1,1,1\n')
    with pytest.raises(InputError, match=r'metrics.csv: expected a table'):
        run.read_metrics()
    run.machine_csv.write_text(f'step,time_s\n1,1.5\n{text},2.5\n3,3.5\n')
    _, rows = read_machine(run.machine_csv)
    assert [row['step'] for row in rows] == ['1', '3']
    assert 'damaged rows that are left out: 1' in caplog.text


def test_files_of_counts_without_a_step_in_their_names_are_ignored(tmp_path):
    run = Workdir(tmp_path)
    run.confusion.mkdir()
    for name in ('5', '10', '05', '-5', '+5', '²', '1' * 200, str(2**63)):
        (run.confusion / f'{name}.npz').touch()
    assert run.list_confusion_steps() == [5, 10]
    run.forget_confusion_after(5)
    assert run.list_confusion_steps() == [5]


def test_class_names_are_separated_by_line_feeds_alone(tmp_path):
    names = ('a\u2028b', 'c\u2029d', 'e\x85f', 'g\x0bh\x0c', 'i\x1cj\x1d', ' k ', 'ﬁ ü', 'a, b')
    Workdir(tmp_path).write_class_names(names)
    assert Workdir(tmp_path).read_class_names() == names


def test_class_names_with_windows_line_ends_or_without_a_last_one_are_read(tmp_path):
    for text in ('cat\r\ndog\r\n', 'cat\ndog', 'cat\r\ndog'):
        (tmp_path / 'class_names.txt').write_bytes(text.encode())
        assert Workdir(tmp_path).read_class_names() == ('cat', 'dog')


@pytest.mark.parametrize('text', ['', '\n'])
def test_a_file_without_class_names_is_bad_input(text, tmp_path):
    (tmp_path / 'class_names.txt').write_text(text)
    with pytest.raises(InputError, match='found an empty file'):
        Workdir(tmp_path).read_class_names()


@pytest.mark.parametrize('name', ['a\nb', 'a\r', '\ud800', os.fsdecode(b'\xff')])
def test_a_class_name_that_cannot_be_a_line_is_refused(name, tmp_path):
    with pytest.raises(InputError, match='expected a name of one line in UTF-8; rename'):
        Workdir(tmp_path).write_class_names(['cat', name])
    assert not list(tmp_path.iterdir())


def make_config():
    config = data_sets.use_data(schema.get_config(), 'digits')
    config.update_from_flattened_dict(
        {'num_epochs': 1, 'batch_size': 256, 'model.depth': 8, 'model.width': 4}
    )
    return config


def train(folder):
    loop.train(make_config(), folder, Terminal(io.StringIO()), StopRequest())


@pytest.fixture(params=['pipe', 'file', 'loop', 'below a file', 'device'])
def no_folder(request, tmp_path):
    """Returns a path that cannot become a folder."""
    path = tmp_path / 'run'
    if request.param == 'pipe':
        os.mkfifo(path)
    elif request.param == 'loop':
        path.symlink_to(path)
    elif request.param == 'device':
        path.symlink_to('/dev/null')
    else:
        path.write_text('precious')
        return path / 'run' if request.param == 'below a file' else path
    return path


def test_a_workdir_that_cannot_be_a_folder_is_bad_input(no_folder):
    with pytest.raises(InputError, match='--workdir=.*: expected a folder to write into'):
        train(no_folder)
    with pytest.raises(InputError, match='--workdir=.*: expected the folder of a run'):
        Workdir(no_folder).read_config()


@pytest.mark.parametrize('exists', [True, False])
def test_a_workdir_that_is_a_symbolic_link_is_trained_in_its_target(exists, tmp_path):
    (tmp_path / 'run').symlink_to('disk')
    if exists:
        (tmp_path / 'disk').mkdir()
        train(tmp_path / 'run')
        assert (tmp_path / 'disk' / 'metrics.csv').is_file()
        assert (tmp_path / 'run').is_symlink()
    else:
        with pytest.raises(InputError, match='expected a folder to write into'):
            train(tmp_path / 'run')


@pytest.mark.parametrize('name', ['metrics.csv', 'machine.csv', 'class_names.txt', '.lock'])
def test_a_pipe_in_place_of_a_file_of_the_run_is_bad_input(name, tmp_path):
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=f'{name}: expected a regular file.*found a pipe'):
        train(tmp_path)
