"""Faults: full disks, folders that are read-only, missing or in use, and hostile files."""

import contextlib
import errno
import io
import json
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.disks import fill, mounted
from support.running import (
    DIGITS,
    after_saving,
    assert_same_state,
    finish,
    read_rows,
    run,
    start,
    start_and_halt,
    while_saving,
)

from resnet_jax.checkpoints import reading
from resnet_jax.checkpoints.format import Metadata, compute_metadata_checksum
from resnet_jax.config import data_sets, schema
from resnet_jax.console.signals import StopRequest
from resnet_jax.console.terminal import Terminal
from resnet_jax.errors import InputError, RunFailed
from resnet_jax.run import Run
from resnet_jax.storage.files import write_text
from resnet_jax.storage.workdir import Workdir
from resnet_jax.training import loop

FIELDS = {
    'num_epochs': 20,
    'batch_size': 256,  # five steps an epoch
    'model.depth': 8,
    'model.width': 4,
    'keep_checkpoints': 0,
    'ema_decay': 0.0,
    'schedule.name': 'constant',
    'schedule.warmup_epochs': 0.0,
}
FLAGS = [f'--config.{name}={value}' for name, value in FIELDS.items()]
LAST_STEP = 100


def train(folder, **fields):
    config = data_sets.use_data(schema.get_config(), 'digits')
    config.update_from_flattened_dict(FIELDS | fields)
    loop.train(config, folder, Terminal(io.StringIO()), StopRequest())


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """Undisturbed run in a process of its own."""
    folder = tmp_path_factory.mktemp('whole') / 'run'
    run(DIGITS, folder, *FLAGS)
    return folder


@pytest.fixture(scope='module')
def one_epoch(tmp_path_factory):
    folder = tmp_path_factory.mktemp('one_epoch') / 'run'
    train(folder, num_epochs=1)
    return folder


def assert_same_run(folder, whole):
    assert len(read_rows(whole)) == 20
    assert read_rows(folder) == read_rows(whole)
    for step in (5, LAST_STEP - 5, LAST_STEP):
        assert_same_state(folder, whole, step)


def read_all(folder):
    return {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}


@pytest.mark.slow
def test_a_full_disk_ends_the_command_and_after_making_room_it_continues(whole, tmp_path):
    disk = tmp_path / 'disk'
    folder = disk / 'run'
    with mounted(disk, '-t', 'tmpfs', '-o', 'size=16m', 'tmpfs') as is_small:

        def leave_no_room(process):
            if is_small:
                fill(disk)
            else:  # no file of the process can grow, which has the same effect
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, 0))

        # During a write, threads of TensorStore print tracebacks that cannot be caught.
        process = start_and_halt(after_saving(15), DIGITS, folder, *FLAGS)
        leave_no_room(process)
        process.send_signal(signal.SIGCONT)
        output = finish(process, 1)
        assert 'Traceback' not in output
        assert ('No space left' if is_small else 'File too large') in output
        assert 'the same command' in output

        assert read_rows(folder) == read_rows(whole)[:3]
        for step in (5, 10, 15):
            assert_same_state(folder, whole, step)
        before = {path: path.read_bytes() for path in folder.rglob('metrics.csv')}
        process = start(DIGITS, folder, *FLAGS)
        leave_no_room(process)
        output = finish(process, 1)
        assert 'Traceback' not in output
        assert {path: path.read_bytes() for path in folder.rglob('metrics.csv')} == before
        assert json.loads((folder / 'config.json').read_text())['num_epochs'] == 20

        if is_small:
            (disk / 'filler').unlink()
        run(DIGITS, folder, *FLAGS)
        assert_same_run(folder, whole)
        assert not list(folder.glob('.*.tmp'))


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_bad_input_but_can_be_read(whole, tmp_path):
    folder = tmp_path / 'run'
    with mounted(folder, '--bind', whole) as is_mounted:
        if is_mounted:
            remount = ['mount', '-o', 'remount,bind,ro', folder]
            subprocess.run(remount, check=True)
            workdir = folder
        else:  # a file in place of a folder, because root can write to any folder
            shutil.copytree(whole, folder, dirs_exist_ok=True)
            workdir = folder / 'metrics.csv' / 'run'
        before = read_all(folder)
        output = run(DIGITS, workdir, *FLAGS, '--config.num_epochs=21', status=2)
        assert f'--workdir={workdir}: expected a folder to write into' in output
        assert 'Traceback' not in output
        assert read_all(folder) == before
        result = Run(folder).evaluate('validation', 'latest')
        assert result.top5 == float(read_rows(whole)[-1]['validation_top5'])


@pytest.mark.parametrize('place', ['file', 'file/below'])
def test_a_file_in_place_of_the_folder_is_bad_input(tmp_path, place):
    (tmp_path / 'file').write_text('precious')
    with pytest.raises(InputError, match='expected a folder to write into'):
        train(tmp_path / place)
    assert (tmp_path / 'file').read_text() == 'precious'


@pytest.mark.slow
def test_a_folder_that_vanishes_ends_the_command(tmp_path, whole):
    folder = tmp_path / 'run'
    process = start_and_halt(after_saving(15), DIGITS, folder, *FLAGS)
    folder.rename(tmp_path / 'gone')
    process.send_signal(signal.SIGCONT)
    output = finish(process, 1)
    assert 'Traceback' not in output
    assert str(folder) in output.splitlines()[-1]
    for step in (5, 10, 15):
        assert_same_state(tmp_path / 'gone', whole, step)


@pytest.mark.slow
def test_two_commands_do_not_train_in_one_folder(tmp_path, whole):
    folder = tmp_path / 'run'
    first = start_and_halt(while_saving(5), DIGITS, folder, *FLAGS)
    before = read_all(folder)
    try:
        output = run(DIGITS, folder, *FLAGS, status=2)
        assert read_all(folder) == before
    finally:
        first.send_signal(signal.SIGCONT)
    assert f'--workdir={folder}: expected a folder that no other process uses' in output
    assert 'Traceback' not in output
    finish(first)
    assert_same_run(folder, whole)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_the_command_and_keeps_what_was_saved(tmp_path):
    flags = ['--config.optimizer.learning_rate=1e30', '--config.schedule.warmup_epochs=0']
    output = run(DIGITS, tmp_path, *FLAGS, *flags, status=1)
    [message] = [line for line in output.splitlines() if line.startswith('failed: ')]
    assert 'expected a finite loss' in message or 'expected finite parameters' in message
    assert 'learning rate' in message
    assert 'Traceback' not in output
    assert reading.list_steps(tmp_path / 'checkpoints') == []


@pytest.mark.parametrize(('owner', 'name'), [(Path, 'replace'), (os, 'replace'), (os, 'fsync')])
def test_a_write_that_is_cut_off_leaves_the_old_file_and_no_other(
    owner, name, tmp_path, monkeypatch
):
    write_text(tmp_path / 'metrics.csv', 'old')
    real = getattr(owner, name)

    def fail(*arguments, **options):
        real(*arguments, **options) if name == 'fsync' else None
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(owner, name, fail)
    with pytest.raises(RunFailed, match='metrics.csv: cannot be written: No space left'):
        write_text(tmp_path / 'metrics.csv', 'new, and much longer')
    monkeypatch.undo()
    assert (tmp_path / 'metrics.csv').read_text() == 'old'
    assert [path.name for path in tmp_path.iterdir()] == ['metrics.csv']


class Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def nested(opening, closing):
    return opening * 100_000 + closing * 100_000


HOSTILE = {
    'pickle': lambda trap: pickle.dumps(Touch(trap)),
    'python': lambda trap: f'__import__("os").mkdir({str(trap)!r})\n'.encode(),
    'class': lambda trap: json.dumps(
        {'__class__': 'os.mkdir', 'py/reduce': [{'py/function': 'os.mkdir'}, [str(trap)]]}
    ).encode(),
    'lists': lambda trap: nested('[', ']').encode(),
    'dicts': lambda trap: nested('{"a":', '').encode() + b'1' + b'}' * 100_000,
    'shallow_lists': lambda trap: b'{"seed":' + b'[' * 400 + b']' * 400 + b'}',
    'shallow_dicts': lambda trap: b'{"a":' * 400 + b'1' + b'}' * 400,
    'number': lambda trap: b'1' * 5000,
    'null': lambda trap: b'null',
    'nothing': lambda trap: b'',
}

FILES = {
    'config': 'config.json',
    'class_names': 'class_names.txt',
    'metadata': 'checkpoints/5/metadata/metadata',
    'metrics': 'checkpoints/5/metrics/metrics',
    'arrays': 'checkpoints/5/state/_METADATA',
    'sharding': 'checkpoints/5/state/_sharding',
    'manifest': 'checkpoints/5/state/manifest.ocdbt',
    'item': 'checkpoints/5/_CHECKPOINT_METADATA',
}


@pytest.mark.parametrize('content', HOSTILE)
def test_hostile_files_are_never_run_and_are_at_most_bad_input(content, one_epoch, tmp_path):
    folder, trap = shutil.copytree(one_epoch, tmp_path / 'run'), tmp_path / 'trap'
    refused = set()
    for name, file in FILES.items():
        before = (folder / file).read_bytes()
        (folder / file).write_bytes(HOSTILE[content](trap))
        try:
            Run(folder).predictor('latest')
        except InputError:
            refused.add(name)
        (folder / file).write_bytes(before)
    assert refused >= {'config', 'class_names', 'metadata', 'metrics', 'manifest'}
    assert not trap.exists()


@pytest.mark.parametrize(
    'change',
    [
        {'scores': {}},
        {'scores': [1, 2]},
        {'scores': {'top5': 'x', 'top1': None}},
        {'scores': 'best'},
        {'epoch': 'x'},
        {'epoch': [1]},
        {'epoch': None},
        {'train_sums': 3},
        {'step': 5.0},
        {'step': '5'},
        {'checksum': 7},
        {'checksums': {}},
        {'checksums': {'params/head/kernel': None}},
        {'checksums': []},
        {'__class__': 'os.mkdir'},
    ],
)
@pytest.mark.parametrize('which', ['best', 'latest', 'epoch:1'])
def test_hostile_metadata_is_bad_input(change, which, one_epoch, tmp_path):
    folder = shutil.copytree(one_epoch, tmp_path / 'run')
    path = folder / FILES['metadata']
    content = json.loads(path.read_text()) | change
    if not change.keys() & {'checksum', '__class__'}:  # the checksum agrees
        fields = {key: content[key] for key in ('step', 'epoch', 'train_sums', 'scores')}
        content['checksum'] = compute_metadata_checksum(Metadata(**fields), content['checksums'])
    path.write_text(json.dumps(content))
    scores = change.get('scores')
    if isinstance(scores, dict):  # the second copy agrees
        (folder / FILES['metrics']).write_text(json.dumps(scores | {'step': 5}))
    with pytest.raises(InputError):
        Run(folder).predictor(which)


def test_a_config_cannot_ask_for_a_data_set_that_is_code_from_elsewhere(
    one_epoch, tmp_path, monkeypatch
):
    import tensorflow_datasets as tfds

    folder = shutil.copytree(one_epoch, tmp_path / 'run')
    config = json.loads((folder / 'config.json').read_text())
    config['data'] |= {'source': 'tfds', 'name': 'kubric:movi_a'}  # TFDS would fetch and import it
    (folder / 'config.json').write_text(json.dumps(config))
    asked = []
    monkeypatch.setattr(tfds, 'builder', lambda name, **_: asked.append(name))
    with contextlib.suppress(AttributeError), pytest.raises(InputError, match='kubric:movi_a'):
        Run(folder).evaluate()
    assert asked == []


@pytest.mark.parametrize('text', [None, '', 'step,epoch\n', 'step\nx\n', 'epoch\n1\n', '\x00\n'])
def test_a_missing_or_damaged_metrics_csv_prints_no_traceback(text, one_epoch, tmp_path):
    folder = shutil.copytree(one_epoch, tmp_path / 'run')
    (folder / 'metrics.csv').unlink()
    if text is not None:
        (folder / 'metrics.csv').write_text(text)
    with contextlib.suppress(InputError):
        train(folder, num_epochs=1)
    assert Workdir(folder).read_config().num_epochs == 1


@pytest.mark.slow
def test_the_commands_print_no_traceback_for_hostile_files(one_epoch, tmp_path):
    folder = shutil.copytree(one_epoch, tmp_path / 'run')
    (folder / FILES['manifest']).write_bytes(HOSTILE['pickle'](tmp_path / 'trap'))
    (folder / FILES['arrays']).write_bytes(HOSTILE['dicts'](tmp_path / 'trap'))
    (tmp_path / 'image.png').write_bytes(b'')
    for command in (['evaluate'], ['predict', str(tmp_path / 'image.png')]):
        arguments = [f'resnet_jax.{command[0]}', f'--workdir={folder}', *command[1:]]
        done = subprocess.run(
            [sys.executable, '-m', *arguments],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2, done.stderr
        assert 'error: ' in done.stderr
        assert 'Traceback' not in done.stderr
    assert not (tmp_path / 'trap').exists()
