"""Writers of files: atomic, on regular files alone, and without leftovers."""

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from resnet_jax.errors import InputError, RunFailed
from resnet_jax.storage import files, machine_csv


def list_names(folder):
    return sorted(path.name for path in folder.iterdir())


def make_pipe(path):
    os.mkfifo(path)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as server, contextlib.chdir(path.parent):
        server.bind(path.name)


def make_device(path):
    path.symlink_to('/dev/full')


def make_loop(path):
    path.symlink_to(path)


SPECIAL = {
    'a folder': lambda path: path.mkdir(),
    'a pipe': make_pipe,
    'a socket': make_socket,
    'a device': make_device,
    'a symbolic link to itself': make_loop,
}

WRITERS = {
    'write_bytes': lambda path: files.write_bytes(path, b'new'),
    'write_text': lambda path: files.write_text(path, 'new'),
    'write_machine': lambda path: machine_csv.write_machine(path, ('step', 'time_s'), []),
    'append_row': lambda path: machine_csv.append_row(path, ('step',), {'step': 1}),
    'require_regular': files.require_regular,
    'read_text': files.read_text,
}


@pytest.mark.parametrize('kind', SPECIAL)
@pytest.mark.parametrize('writer', WRITERS)
def test_what_is_not_a_regular_file_is_refused_and_left_alone(writer, kind, tmp_path):
    path = tmp_path / 'output'
    SPECIAL[kind](path)
    before = path.lstat()
    with pytest.raises(InputError, match=f'output: expected a regular file.*, found {kind};'):
        WRITERS[writer](path)
    assert path.lstat().st_ino == before.st_ino
    assert path.lstat().st_mode == before.st_mode
    assert list_names(tmp_path) == ['output']


def test_a_device_is_refused_under_its_own_name():
    for device in ('/dev/null', '/dev/full', '/dev/zero'):
        with pytest.raises(InputError, match='found a device'):
            files.write_bytes(Path(device), b'new')


def test_a_new_path_and_a_regular_file_are_accepted(tmp_path):
    files.require_regular(tmp_path / 'new')
    files.require_regular(tmp_path / 'no folder' / 'new')
    files.write_bytes(tmp_path / 'new', b'1')
    files.require_regular(tmp_path / 'new')
    files.append_text(tmp_path / 'new', '2')
    assert files.read_text(tmp_path / 'new') == '12'
    with pytest.raises(RunFailed, match='No such file or directory'):
        files.write_bytes(tmp_path / 'no folder' / 'new', b'1')


@pytest.mark.parametrize('exists', [True, False])
def test_a_symbolic_link_stays_and_its_target_is_replaced(exists, tmp_path):
    (tmp_path / 'disk').mkdir()
    target, link = tmp_path / 'disk' / 'target', tmp_path / 'link'
    link.symlink_to('disk/target')
    if exists:
        target.write_text('old')
        hard_link = tmp_path / 'old'
        os.link(target, hard_link)
    files.write_text(link, 'new')
    assert (str(link.readlink()), target.read_text()) == ('disk/target', 'new')
    assert list_names(tmp_path / 'disk') == ['target']
    if exists:
        assert hard_link.read_text() == 'old'  # the target was renamed into place, not written over


def end_and_number():
    """Returns the number of a process that has ended."""
    process = subprocess.Popen([sys.executable, '-c', ''])
    process.wait()
    return process.pid


def test_temporary_files_of_killed_processes_are_removed_by_the_next_write(tmp_path):
    dead = end_and_number()
    leftovers = [f'.a.csv.{dead}.tmp', f'.a.csv.{os.getpid()}.tmp']
    others = [
        f'.a.csv.{os.getppid()}.tmp',  # its process lives
        f'.b.csv.{dead}.tmp',  # of another file
        f'.xa.csv.{dead}.tmp',
        f'.a.csv.{2**70}.tmp',
        f'.a.csv.{"1" * 200}.tmp',
        '.a.csv..tmp',
        '.a.csv.x.tmp',
    ]
    for name in leftovers + others:
        (tmp_path / name).write_text('half')
    files.write_text(tmp_path / 'a.csv', 'new')
    assert list_names(tmp_path) == sorted([*others, 'a.csv'])


def test_names_with_special_characters_are_not_patterns(tmp_path):
    dead = end_and_number()
    (tmp_path / f'.ab.{dead}.tmp').write_text('half')
    files.write_text(tmp_path / '[a-z]b', 'new')
    files.write_text(tmp_path / '*', 'new')
    assert list_names(tmp_path) == ['*', f'.ab.{dead}.tmp', '[a-z]b']


def test_a_lock_is_a_regular_file_that_is_not_written(tmp_path):
    lock = tmp_path / '.lock'
    for kind, make in SPECIAL.items():
        make(lock)
        with pytest.raises(InputError, match=f'found {kind}'), files.locked(tmp_path, '--workdir'):
            pass
        lock.rmdir() if kind == 'a folder' else lock.unlink()
    precious = tmp_path / 'precious'
    precious.write_text('precious')
    lock.symlink_to(precious)
    with files.locked(tmp_path, '--workdir'):
        assert precious.read_text() == 'precious'
