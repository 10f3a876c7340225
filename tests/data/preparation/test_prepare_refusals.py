"""Folders, names and data that `prepare` refuses; refusing them changes no file."""

import os
import shutil
from pathlib import Path

import pytest
from support.preparing import (
    folder_config,
    prepare_set,
    prepared_config,
    read_examples,
    read_files,
    write_photographs,
)

from resnet_jax.data.preparation import prepare
from resnet_jax.errors import InputError

RAW = ('raw', 8)


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


def refusal(config, output, *encoding):
    with pytest.raises(InputError) as error:
        prepare_set(config, output, *encoding or RAW)
    return str(error.value)


def test_a_folder_with_files_in_it_is_refused(photographs, tmp_path):
    (tmp_path / 'notes.txt').write_text('precious')
    message = refusal(folder_config(photographs), tmp_path)
    assert f'--output={tmp_path}: expected a new or empty folder, found notes.txt' in message
    assert read_files(tmp_path) == {'notes.txt': b'precious'}


def test_a_finished_folder_is_refused(photographs, finished):
    before = read_files(finished)
    assert 'found photographs in it' in refusal(folder_config(photographs), finished)
    assert read_files(finished) == before


@pytest.mark.parametrize('place', ['file', 'file/below', 'begun/unfinished'])
def test_a_file_instead_of_a_folder_is_refused(photographs, tmp_path, place):
    path = tmp_path / place
    (tmp_path / 'file').write_text('precious')
    (tmp_path / 'begun').mkdir()
    if place.endswith('unfinished'):
        path.write_text('precious')
        path = path.parent
    before = read_files(tmp_path)
    message = refusal(folder_config(photographs), path)
    assert f'--output={path}: expected a folder to write into, found: ' in message
    assert read_files(tmp_path) == before


def test_a_name_that_is_not_utf8_is_refused(photographs, tmp_path):
    message = refusal(folder_config(photographs), tmp_path / os.fsdecode(b'o\xff'))
    assert message.startswith(rf'--output={tmp_path}/o\udcff: expected a name in UTF-8')
    assert not list(tmp_path.iterdir())


def test_devices_are_refused(photographs):
    message = refusal(folder_config(photographs), Path('/dev/null'))
    assert message == '--output=/dev/null: expected a folder to write into, found: Not a directory'
    assert Path('/dev/null').is_char_device()


def test_an_empty_folder_is_accepted(photographs, finished, tmp_path):
    (tmp_path / 'new').mkdir()
    prepare_set(folder_config(photographs), tmp_path / 'new', *RAW)
    assert read_files(tmp_path / 'new') == read_files(finished)


@pytest.mark.parametrize(
    'name',
    [
        '1st',
        'a b',
        '../up',
        'a/b/c',
        'a:1.0.0',
        'a/..',
        'ä',
        'a\n',
        '.',
        'a/',
        '/a',
        'Photos',
        'myPhotos',
    ],
)
def test_a_name_that_tfds_could_not_read_is_refused(photographs, tmp_path, name):
    message = refusal(folder_config(photographs, name=name), tmp_path / 'new')
    assert f'config.data.name = {name!r}' in message
    assert not (tmp_path / 'new').exists()


@pytest.mark.parametrize('name', ['my_photos2', 'imagenet', 'a/B.c', 'a/1.0.0'])
def test_a_valid_name_can_be_read(photographs, finished, tmp_path, name):
    config = prepare_set(folder_config(photographs, name=name), tmp_path / 'new', *RAW)
    expected = read_examples(prepared_config(folder_config(photographs), finished))
    assert [e['label'] for e in read_examples(config)] == [e['label'] for e in expected]


@pytest.mark.parametrize(
    ('folder', 'name'), [('My photos (2024)', 'my_photos_2024'), ('Blumen-Bilder', 'blumen_bilder')]
)
def test_a_folder_without_another_name_is_prepared_under_its_own(
    photographs, tmp_path, caplog, folder, name
):
    data = shutil.copytree(photographs, tmp_path / folder)
    with caplog.at_level('INFO', logger='absl'):
        prepare_set(folder_config(data, name='imagenet2012'), tmp_path / 'new', *RAW)
    assert (tmp_path / 'new' / name / '1.0.0' / 'dataset_info.json').exists()
    flags = f'--config.data.source=tfds --config.data.name={name} --config.data.dir={tmp_path}/new'
    assert flags in caplog.text
    config = folder_config(tmp_path / 'new', source='tfds', name=name)
    assert len(read_examples(config)) == 15


def test_a_folder_whose_name_tfds_could_not_read_needs_another(photographs, tmp_path):
    data = shutil.copytree(photographs, tmp_path / '2024')
    message = refusal(folder_config(data, name=''), tmp_path / 'new')
    assert "config.data.name = '2024': expected a name for the new TFDS data set" in message


def test_too_little_space_is_refused_before_anything_is_written(photographs, tmp_path, monkeypatch):
    def few_bytes(_):
        return shutil._ntuple_diskusage(10**6, 10**6 - 2000, 2000)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, 'disk_usage', few_bytes)
        message = refusal(folder_config(photographs), tmp_path / 'new')
    assert 'expected about 5.25 KiB of free space, found 1.95 KiB; free some space' in message
    assert not list((tmp_path / 'new').rglob('*.tfrecord*'))
    prepare_set(folder_config(photographs), tmp_path / 'new', 'jpeg', 7)  # smaller, it fits


def test_splits_with_different_classes_are_refused(photographs, tmp_path):
    data = shutil.copytree(photographs, tmp_path / 'data')
    (data / 'validation' / 'cat').rename(data / 'validation' / 'dog')
    message = refusal(folder_config(data), tmp_path / 'new')
    assert "splits 'train' and 'validation'" in message
    assert 'dog' in message
    assert not (tmp_path / 'new').exists()


def test_a_bad_image_is_named_and_the_files_before_it_stay(photographs, finished, tmp_path):
    data = shutil.copytree(photographs, tmp_path / 'data')
    [bad] = data.glob('validation/*/04.*')
    content = bad.read_bytes()
    bad.write_bytes(content[:100])
    message = refusal(folder_config(data), tmp_path / 'new')
    assert message.startswith(f'{bad}: cannot be decoded: ')
    assert '--config.data.on_error=skip' in message
    assert len((tmp_path / 'new/unfinished/files.jsonl').read_text().splitlines()) >= 4
    bad.write_bytes(content)
    prepare_set(folder_config(data), tmp_path / 'new', *RAW)
    assert read_files(tmp_path / 'new') == read_files(finished)


def test_a_split_of_bad_images_only_is_refused(photographs, tmp_path):
    data = shutil.copytree(photographs, tmp_path / 'data')
    for path in data.glob('validation/*/*'):
        path.write_bytes(b'')
    message = refusal(folder_config(data, on_error='skip'), tmp_path / 'new')
    assert (
        "split 'validation': expected at least one image that can be decoded, found none" in message
    )
    assert len((tmp_path / 'new/bad_images.csv').read_text().splitlines()) == 7
