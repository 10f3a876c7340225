"""Unfinished preparations: continued, refused, or started again from the first damaged file."""

import contextlib
import errno
import itertools
import json
import re
import shutil
import signal

import pytest
from support.preparing import (
    StopAfter,
    folder_config,
    prepare_set,
    read_files,
    write_photographs,
)

from resnet_jax.data.preparation import prepare, record_files
from resnet_jax.errors import InputError, RunFailed, Stopped
from resnet_jax.storage.files import locked

RAW = ('raw', 8)

PLANNED = record_files.plan_files('photographs', 'train', 15, 4)


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
    return write_photographs(tmp_path_factory.mktemp('photographs'))


@pytest.fixture(autouse=True)
def _files_of_four_images(monkeypatch):
    monkeypatch.setattr(prepare, 'FILE_BYTES', 4 * 256)


@pytest.fixture(scope='module')
def finished(photographs, tmp_path_factory):
    """The output folder of an uninterrupted preparation."""
    output = tmp_path_factory.mktemp('finished') / 'output'
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(prepare, 'FILE_BYTES', 4 * 256)
        prepare_set(folder_config(photographs), output, *RAW)
    return output


@pytest.fixture(scope='module')
def begun_once(photographs, tmp_path_factory):
    output = tmp_path_factory.mktemp('begun') / 'output'
    with pytest.MonkeyPatch.context() as monkeypatch, contextlib.suppress(Stopped):
        monkeypatch.setattr(prepare, 'FILE_BYTES', 4 * 256)
        request = StopAfter(9, signal.SIGTERM)
        prepare_set(folder_config(photographs), output, *RAW, request=request)
    assert len((output / 'unfinished/files.jsonl').read_text().splitlines()) == 2
    return output


@pytest.fixture
def begun(begun_once, tmp_path):
    """The output folder of a preparation with two of six files finished."""
    return shutil.copytree(begun_once, tmp_path / 'begun')


def refusal(config, output, *encoding):
    with pytest.raises(InputError) as error:
        prepare_set(config, output, *encoding or RAW)
    return str(error.value)


@pytest.mark.parametrize(
    ('encoding', 'data', 'settings'),
    [
        (('jpeg', 8), {}, "kind 'raw'"),
        (('raw', 9), {}, 'size 8'),
        (('raw', 8, 'square'), {}, "shape 'keep'"),
        (('raw', 8, 'keep', 91), {}, 'quality 90'),
        (RAW, {'validation_interpolation': 'bicubic'}, "interpolation 'bilinear'"),
        (RAW, {'exif_orientation': True}, 'exif_orientation False'),
        (RAW, {'name': 'other'}, "made_from 'folder photographs'"),
    ],
)
def test_other_settings_than_those_of_the_unfinished_preparation_are_refused(
    photographs, begun, encoding, data, settings
):
    before = read_files(begun)
    message = refusal(folder_config(photographs, **data), begun, *encoding)
    assert f'it was started with {settings}; use the same settings' in message
    assert read_files(begun) == before


def test_other_data_than_that_of_the_unfinished_preparation_is_refused(
    photographs, begun, tmp_path
):
    data = shutil.copytree(photographs, tmp_path / 'data')
    next(data.glob('train/*/14.*')).unlink()
    before = read_files(begun)
    assert "num_positions {'train': 15, 'validation': 6}" in refusal(folder_config(data), begun)
    assert read_files(begun) == before


@pytest.mark.parametrize('field', ['dir', 'on_error', 'num_threads'])
def test_settings_that_change_no_record_can_be_changed(
    photographs, begun, finished, tmp_path, field
):
    moved = shutil.copytree(photographs, tmp_path / 'data')
    values = {'dir': str(moved), 'on_error': 'skip', 'num_threads': 1}
    config = folder_config(photographs)
    config.data[field] = values[field]
    prepare_set(config, begun, *RAW)
    assert read_files(begun) == read_files(finished)


def test_a_folder_in_which_another_process_works_is_refused(photographs, begun):
    with locked(begun / 'unfinished', '--output'):
        before = read_files(begun)
        message = refusal(folder_config(photographs), begun)
        assert 'expected a folder that no other process uses' in message
        assert read_files(begun) == before


def test_a_preparation_of_a_version_that_ignored_exif_is_continued(photographs, begun, finished):
    path = begun / 'unfinished/settings.json'
    settings = json.loads(path.read_text())
    del settings['exif_orientation']
    path.write_text(json.dumps(settings))
    assert 'exif_orientation False' in refusal(
        folder_config(photographs, exif_orientation=True), begun
    )
    prepare_set(folder_config(photographs), begun, *RAW)
    assert read_files(begun) == read_files(finished)


def test_missing_settings_are_refused(photographs, begun):
    (begun / 'unfinished/settings.json').unlink()
    before = read_files(begun)
    assert 'it was started with unknown settings' in refusal(folder_config(photographs), begun)
    assert read_files(begun) == before


def test_a_file_that_is_not_in_the_list_is_deleted(photographs, finished, tmp_path):
    unfinished = tmp_path / 'new/unfinished'
    unfinished.mkdir(parents=True)
    (unfinished / 'photographs-train.tfrecord-00000-of-00001').write_text('of other settings')
    prepare_set(folder_config(photographs), tmp_path / 'new', *RAW)
    assert read_files(tmp_path / 'new') == read_files(finished)


HOSTILE = {
    'nothing': b'',
    'null': b'null\n',
    'number': b'1' * 5000 + b'\n',
    'text': b'"text"\n',
    'list': b'[1, 2, 3]\n',
    'object': b'{"name": 1, "x": 2}\n',
    'binary': bytes(range(256)),
    'lists': b'[' * 100_000 + b']' * 100_000 + b'\n',
    'objects': b'{"a":' * 100_000 + b'1' + b'}' * 100_000 + b'\n',
    'long': b'{"size": "' + b'x' * 1_000_000 + b'"}\n',
}


@pytest.mark.parametrize('content', HOSTILE)
def test_an_unreadable_list_of_files_is_ignored(begun, content):
    (begun / 'unfinished/files.jsonl').write_bytes(HOSTILE[content])
    assert record_files.read_written(begun / 'unfinished', PLANNED) == []


@pytest.mark.parametrize(
    'change',
    [
        {'name': '../../etc/passwd'},
        {'split': 'validation'},
        {'start': 1},
        {'num_positions': 10**9},
        {'num_examples': 10**9},
        {'num_examples': -1},
        {'num_examples': 'x'},
        {'num_examples': None},
        {'num_examples': 4.0},
        {'num_bytes': 7},
        {'num_bytes': None},
        {'sha256': None},
        {'sha256': ['x']},
        {'bad_images': 5},
        {'bad_images': ['x', 'y']},
        {'bad_images': [[1, 2]]},
        {'bad_images': [['a', 'b', 'c']]},
        {'further': 1},
    ],
    ids=json.dumps,
)
def test_an_impossible_entry_of_the_list_is_ignored(begun, change):
    path = begun / 'unfinished/files.jsonl'
    first, second = path.read_text().splitlines()
    path.write_text(f'{first}\n{second}\n')
    assert len(record_files.read_written(begun / 'unfinished', PLANNED)) == 2
    path.write_text(f'{first}\n{json.dumps(json.loads(second) | change)}\n')
    assert len(record_files.read_written(begun / 'unfinished', PLANNED)) == 1


def test_after_an_unreadable_list_the_same_files_are_written(photographs, begun, finished):
    (begun / 'unfinished/files.jsonl').write_bytes(HOSTILE['lists'])
    (begun / 'unfinished/.files.jsonl.7.tmp').write_text('of a process that was killed')
    prepare_set(folder_config(photographs), begun, *RAW)
    assert read_files(begun) == read_files(finished)


@pytest.mark.parametrize('content', HOSTILE)
def test_unreadable_settings_are_refused(photographs, begun, content):
    (begun / 'unfinished/settings.json').write_bytes(HOSTILE[content])
    before = read_files(begun)
    message = refusal(folder_config(photographs), begun)
    assert re.search(
        'it was started with .*; use the same settings, or choose another folder', message
    )
    assert len(message) < 1000
    assert read_files(begun) == before


def test_a_damaged_file_is_written_again(photographs, begun, finished):
    second = begun / 'unfinished/photographs-train.tfrecord-00001-of-00004'
    second.write_bytes(second.read_bytes()[:-1])
    prepare_set(folder_config(photographs), begun, *RAW)
    assert read_files(begun) == read_files(finished)


@pytest.mark.parametrize('step', [2, 3, 6, 7])
def test_a_disk_that_is_full_at_any_moment_is_an_error_and_the_preparation_can_continue(
    photographs, tmp_path, monkeypatch, step
):
    """Makes the n-th renaming of a file, or the writing of TFDS's description, fail."""
    import tensorflow_datasets as tfds

    monkeypatch.setattr(prepare, 'FILE_BYTES', 2**27)
    changes = itertools.count(1)

    def failing(real):
        def change(*arguments, **options):
            if next(changes) == step:
                raise OSError(errno.ENOSPC, 'No space left on device')
            return real(*arguments, **options)

        return change

    with monkeypatch.context() as patch:
        patch.setattr(prepare.Path, 'replace', failing(prepare.Path.replace))
        patch.setattr(prepare.Path, 'rename', failing(prepare.Path.rename))
        write = tfds.folder_dataset.write_metadata
        patch.setattr(tfds.folder_dataset, 'write_metadata', failing(write))
        with pytest.raises(RunFailed, match='cannot be written: No space left on device'):
            prepare_set(folder_config(photographs), tmp_path / 'new', *RAW)
    prepare_set(folder_config(photographs), tmp_path / 'new', *RAW)
    prepare_set(folder_config(photographs), tmp_path / 'whole', *RAW)
    assert read_files(tmp_path / 'new') == read_files(tmp_path / 'whole')


@pytest.mark.parametrize('count', [0, 5, 15, 20])
def test_stopped_anywhere_and_continued_is_one_preparation(photographs, finished, tmp_path, count):
    config = folder_config(photographs)
    for _ in range(2):
        with contextlib.suppress(Stopped):
            request = StopAfter(count, signal.SIGTERM)
            prepare_set(config, tmp_path / 'new', *RAW, request=request)
    if (tmp_path / 'new/unfinished').exists():
        prepare_set(config, tmp_path / 'new', *RAW)
    assert read_files(tmp_path / 'new') == read_files(finished)
