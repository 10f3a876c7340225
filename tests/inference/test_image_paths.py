"""Images to predict: files, folders and patterns."""

import logging
import os

import pytest

from resnet_jax.errors import InputError
from resnet_jax.inference.image_paths import expand_images


@pytest.fixture
def folder(tmp_path):
    """Images at several depths, in capital and small letters, beside other files."""
    for name in ('b.png', 'a.JPG', 'inner/c.webp', 'inner/deep/d.bmp', 'notes.txt', '.hidden.png'):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'')
    return tmp_path


def relative(paths, folder):
    return [os.path.relpath(path, folder) for path in paths]


def test_a_folder_stands_for_the_images_in_it_and_inside_it(folder, caplog):
    with caplog.at_level(logging.INFO, logger='absl'):
        paths = expand_images([str(folder)])
    assert relative(paths, folder) == ['a.JPG', 'b.png', 'inner/c.webp', 'inner/deep/d.bmp']
    assert '2 files or folders are left out' in caplog.text
    assert 'notes.txt' in caplog.text


@pytest.mark.parametrize(
    ('pattern', 'names'),
    [
        ('*.png', ['b.png']),
        ('[ab].*', ['a.JPG', 'b.png']),
        ('inner/?.webp', ['inner/c.webp']),
        ('inn*', ['inner/c.webp', 'inner/deep/d.bmp']),
        ('**/*.bmp', ['inner/deep/d.bmp']),
    ],
)
def test_a_pattern_stands_for_what_it_matches(pattern, names, folder):
    assert relative(expand_images([f'{folder}/{pattern}']), folder) == names


def test_images_keep_the_order_of_the_arguments_and_a_missing_one_is_kept(folder):
    arguments = [str(folder / name) for name in ('b.png', 'missing.png', 'inner')]
    names = ['b.png', 'missing.png', 'inner/c.webp', 'inner/deep/d.bmp']
    assert relative(expand_images(arguments), folder) == names


def test_an_image_whose_name_has_the_characters_of_a_pattern_is_that_image(folder):
    path = folder / 'photo [1].png'
    path.write_bytes(b'')
    assert expand_images([str(path)]) == [str(path)]


def test_a_name_that_is_not_utf8_is_listed(folder):
    name = os.fsencode(folder) + b'/inner/\xff.png'
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
    assert os.fsdecode(name) in expand_images([str(folder / 'inner')])


def test_the_home_folder_is_expanded(folder, monkeypatch):
    monkeypatch.setenv('HOME', str(folder))
    assert expand_images(['~/b.png', '~/inner/*.webp']) == [
        str(folder / 'b.png'),
        str(folder / 'inner/c.webp'),
    ]


@pytest.mark.parametrize('argument', ['empty', '*.gif', 'nothing*/*.png'])
def test_a_folder_or_pattern_without_images_is_refused(argument, folder):
    (folder / 'empty').mkdir()
    (folder / 'empty/notes.txt').touch()
    with pytest.raises(InputError, match=r'expected a folder with images .*found none'):
        expand_images([str(folder / 'b.png'), f'{folder}/{argument}'])


def test_a_name_that_is_too_long_is_kept_for_the_reader_to_refuse():
    assert expand_images(['a' * 5000]) == ['a' * 5000]


@pytest.mark.parametrize(('arguments', 'found'), [([], 'none'), (['a.png', ''], 'an empty path')])
def test_no_arguments_and_an_empty_one_are_refused(arguments, found):
    with pytest.raises(InputError, match=f'expected at least one image .*found {found}'):
        expand_images(arguments)
