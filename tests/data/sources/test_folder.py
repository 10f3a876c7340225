"""Folders of images: which files are read, what the log says, and the division of plain folders."""

import io
import logging
import os

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from resnet_jax.config import data_sets, schema
from resnet_jax.data import pipeline
from resnet_jax.data.sources import registry
from resnet_jax.errors import InputError


def write(path, level=0, kind='PNG'):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('wb') as file:
        PIL.Image.new('RGB', (8, 8), (level, level, level)).save(file, kind)
    return path


def write_classes(root, **numbers):
    """Writes images with the names 00.png, 01.png, ..., which differ in their levels."""
    for name, number in numbers.items():
        for i in range(number):
            write(root / name / f'{i:02}.png', i)
    return root


def config_of(root, fraction=0.0, **data):
    config = data_sets.use_data(schema.get_config(), 'digits')
    config.data.update(
        {'source': 'folder', 'dir': str(root), 'validation_fraction': fraction} | data
    )
    return config


def open_split(root, split='train', fraction=0.0, seed=0, **data):
    config = config_of(root, fraction, **data)
    config.seed = seed
    return registry.load_source(config, split)


def names(source, root):
    prefix = f'{root}{os.sep}'
    return [source.name(i).removeprefix(prefix) for i in range(source.num_examples)]


def divide(root, fraction=0.2, seed=0):
    """Returns the names of the images for training and of those for validation."""
    return [
        names(open_split(root, split, fraction, seed), root) for split in ('train', 'validation')
    ]


def refusal(root, split='train', fraction=0.0, **data):
    with pytest.raises(InputError) as error:
        open_split(root, split, fraction, **data)
    return str(error.value)


def messages(caplog):
    return [record.getMessage() for record in caplog.records]


# Plain folders


@pytest.mark.parametrize('fraction', [0.01, 0.2, 0.5, 0.9, 0.999])
def test_a_plain_folder_is_divided_within_each_class(tmp_path, fraction):
    numbers = {'a': 2, 'b': 3, 'c': 10, 'd': 40}
    train, validation = divide(write_classes(tmp_path, **numbers), fraction)
    everything = [f'{name}/{i:02}.png' for name in numbers for i in range(numbers[name])]
    assert sorted(train + validation) == everything
    assert (train, validation) == (sorted(train), sorted(validation))
    for name, number in numbers.items():
        share = sum(path.startswith(f'{name}/') for path in validation)
        assert share == min(max(round(fraction * number), 1), number - 1)
    source = open_split(tmp_path, 'validation', fraction)
    assert source.class_names == tuple(numbers)


def test_the_division_depends_on_the_seed_and_on_the_paths_inside_the_folder(tmp_path):
    first = write_classes(tmp_path / 'x', a=20, b=20)
    other = write_classes(tmp_path / 'y' / 'z', a=20, b=20)
    assert divide(first) == divide(first) == divide(other)
    assert divide(first) != divide(first, seed=1)
    assert [len(part) for part in divide(first, seed=1)] == [32, 8]
    train, validation = divide(first)
    assert [p[2:] for p in validation if p[0] == 'a'] != [p[2:] for p in validation if p[0] == 'b']


def test_another_image_moves_at_most_one_of_the_others(tmp_path):
    root = write_classes(tmp_path, a=20, b=20)
    _, before = divide(root)
    for number in range(30):
        new = f'a/new{number}.png'
        write(root / new)
        _, after = divide(root)
        assert len(set(before) ^ (set(after) - {new})) <= 1
        assert [p for p in after if p[0] == 'b'] == [p for p in before if p[0] == 'b']
        before = after


def test_a_class_with_one_image_has_it_in_training_and_the_log_says_so(tmp_path, caplog):
    root = write_classes(tmp_path, few=1, many=5, more=5)
    with caplog.at_level(logging.INFO, logger='absl'):
        train, validation = divide(root)
    assert 'few/00.png' in train
    assert [path[:4] for path in validation] == ['many', 'more']
    assert open_split(root, 'validation', 0.2).class_names == ('few', 'many', 'more')
    assert messages(caplog) == [
        f'{root}: 1 class has only one image, which is used for training, and none for '
        'validation: few'
    ]


def test_classes_with_one_image_each_are_refused(tmp_path):
    message = refusal(write_classes(tmp_path, a=1, b=1), fraction=0.2)
    assert 'config.data.validation_fraction = 0.2: expected at least one class with 2' in message


@pytest.mark.parametrize(
    ('split', 'data'), [('test', {}), ('train', {'validation_split': 'train'})]
)
def test_a_plain_folder_has_the_two_splits_of_the_config(tmp_path, split, data):
    message = refusal(write_classes(tmp_path, a=3), split, 0.2, **data)
    assert f'split {split!r}: expected one of config.data.train_split' in message


def test_the_message_for_a_plain_folder_without_a_fraction_says_what_to_set(tmp_path):
    message = refusal(write_classes(tmp_path, cat=3, dog=3))
    assert f"split 'train': expected a folder {tmp_path}/train, found cat, dog in" in message
    assert '--config.data.validation_fraction=0.2' in message
    assert open_split(tmp_path, 'train', 0.2).num_examples == 4


def test_the_message_for_splits_with_a_fraction_says_what_to_set(tmp_path):
    for split in ('train', 'validation'):
        write_classes(tmp_path / split, cat=3, dog=3)
    message = refusal(tmp_path, fraction=0.2)
    assert "found the split 'train', which has folders of its own" in message
    assert 'set --config.data.validation_fraction=0;' in message
    assert message.endswith(f'set --config.data.dir={tmp_path}/train')
    assert open_split(tmp_path).num_examples == open_split(tmp_path, 'validation').num_examples == 6
    assert open_split(tmp_path / 'train', fraction=0.2).num_examples == 4


def test_the_message_for_splits_of_other_names_says_what_to_set(tmp_path):
    for split in ('train', 'val'):
        write_classes(tmp_path / split, cat=3, dog=3)
    message = refusal(tmp_path, 'validation')
    assert 'found train, val in' in message
    assert '--config.data.validation_split=NAME' in message
    assert open_split(tmp_path, 'val', validation_split='val').num_examples == 6


# Which files are read


def test_all_suffixes_and_nested_folders_are_read(tmp_path):
    paths = ['a.jpg', 'b.JPEG', 'c.png', 'd.Gif', 'e.bmp', 'f.WebP', 'x/g.png', 'x/y/z/h.jpg']
    kinds = {'jpg': 'JPEG', 'jpeg': 'JPEG'}
    for level, path in enumerate(paths):
        suffix = path.rpartition('.')[2].lower()
        write(tmp_path / 'train' / 'cat' / path, 20 * level, kinds.get(suffix, suffix.upper()))
    source = open_split(tmp_path)
    assert names(source, tmp_path / 'train' / 'cat') == paths
    config = config_of(tmp_path)
    [batch] = pipeline.evaluation_batches(source, config, batch_size=8)
    assert (abs(batch['image'].astype(int).mean(axis=(1, 2, 3)) - 20 * np.arange(8)) <= 2).all()


def test_the_log_says_what_is_left_out_and_why(tmp_path, caplog):
    folder = tmp_path / 'train' / 'cat'
    write(folder / 'a.png')
    for name in ('b.HEIC', 'c.heic', 'notes', '.hidden.png'):
        (folder / name).write_bytes(b'')
    (folder / 'broken.jpg').symlink_to('nowhere')
    (tmp_path / 'train' / 'list.csv').write_text('')
    with caplog.at_level(logging.INFO, logger='absl'):
        assert open_split(tmp_path).num_examples == 1
    assert messages(caplog) == [
        f'{tmp_path}/train: 6 files or folders are left out: 2 .heic (such as {folder}/b.HEIC), '
        f'1 outside the folders of classes ({tmp_path}/train/list.csv), 1 hidden '
        f'({folder}/.hidden.png), 1 broken link or no regular file ({folder}/broken.jpg), '
        f'1 without a suffix ({folder}/notes)'
    ]


def test_many_reasons_are_summed_up(tmp_path, caplog):
    write(tmp_path / 'train' / 'cat' / 'a.png')
    for number in range(12):
        (tmp_path / 'train' / 'cat' / f'b.{number:03}').write_bytes(b'')
    with caplog.at_level(logging.INFO, logger='absl'):
        open_split(tmp_path)
    assert '1 .007 ' in caplog.text
    assert caplog.text.rstrip().endswith(f'4 others (such as {tmp_path}/train/cat/b.008)')


def test_nothing_is_said_when_nothing_is_left_out(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger='absl'):
        open_split(write_classes(tmp_path, cat=3), fraction=0.5)
    assert not caplog.records


def test_a_class_without_images_is_refused_with_what_was_left_out(tmp_path):
    write_classes(tmp_path / 'train', cat=1)
    (tmp_path / 'train' / 'dog').mkdir()
    (tmp_path / 'train' / 'dog' / 'a.heic').write_bytes(b'')
    message = refusal(tmp_path)
    assert "class 'dog': expected images (.jpg, .jpeg, .png, .gif, .bmp, .webp) in" in message
    assert '1 file or folder is left out: 1 .heic' in message


def test_pipes_and_devices_are_left_out(tmp_path, caplog):
    write(tmp_path / 'train' / 'cat' / 'a.png')
    os.mkfifo(tmp_path / 'train' / 'cat' / 'b.png')
    (tmp_path / 'train' / 'cat' / 'c.png').symlink_to('/dev/zero')
    with caplog.at_level(logging.INFO, logger='absl'):
        assert open_split(tmp_path).num_examples == 1
    assert '2 broken link or no regular file' in caplog.text


def test_links_in_a_circle_end(tmp_path, caplog):
    folder = tmp_path / 'train' / 'cat'
    write(folder / 'inner' / 'a.png')
    write(tmp_path / 'train' / 'dog' / 'b.png')
    (folder / 'up').symlink_to('..')
    (folder / 'inner' / 'again').symlink_to(folder)
    (folder / 'inner' / 'self').symlink_to('self')
    (folder / 'inner' / 'self.png').symlink_to('self.png')
    (folder / 'root').symlink_to('/')
    with caplog.at_level(logging.INFO, logger='absl'):
        source = open_split(tmp_path)
    assert names(source, tmp_path / 'train') == ['cat/inner/a.png', 'dog/b.png']
    assert '3 link to a folder that is read already' in caplog.text


def test_links_to_images_and_to_folders_elsewhere_are_read(tmp_path):
    elsewhere = write(tmp_path / 'elsewhere' / 'a.png', 7).parent
    (tmp_path / 'data' / 'train').mkdir(parents=True)
    (tmp_path / 'data' / 'train' / 'cat').symlink_to(elsewhere)
    write(tmp_path / 'data' / 'train' / 'dog' / 'b.png')
    (tmp_path / 'data' / 'train' / 'dog' / 'c.png').symlink_to(elsewhere / 'a.png')
    (tmp_path / 'data' / 'train' / 'dog' / 'more').symlink_to(elsewhere)
    assert open_split(tmp_path / 'data').num_examples == 4


def test_names_that_are_not_utf8_are_read(tmp_path):
    name = os.fsdecode(b'b\xff.png')
    write(tmp_path / 'train' / 'cat' / name, 9)
    write(tmp_path / 'train' / 'cat' / os.fsdecode(b'in\xfe') / 'c.png', 11)
    source = open_split(tmp_path)
    images = source.elements(None, tf.constant(0, tf.int64)).map(source.load_image)
    levels = [np.asarray(PIL.Image.open(io.BytesIO(i))).max() for i in images.as_numpy_iterator()]
    assert levels == [9, 11]
    assert names(source, tmp_path / 'train' / 'cat') == [r'b\udcff.png', r'in\udcfe/c.png']
    assert open_split(tmp_path / 'train', fraction=0.5).num_examples == 1


def test_a_folder_whose_own_name_is_not_utf8_is_read(tmp_path):
    root = tmp_path / os.fsdecode(b'\xff')
    write(root / 'train' / 'cat' / 'a.png')
    source = open_split(root)
    assert source.num_examples == 1
    assert source.name(0) == rf'{tmp_path}/\udcff/train/cat/a.png'
    assert r'\udcff' in refusal(root, 'validation')


@pytest.mark.parametrize(
    ('name', 'kind'),
    [
        ('a\nb', 'control character'),
        ('a\rb', 'control character'),
        ('a\x1bb', 'control character'),
        ('a\u2028b', 'line separator'),
        ('a\u2029b', 'paragraph separator'),
        (os.fsdecode(b'a\xff'), 'byte that is not UTF-8'),
    ],
)
def test_a_class_name_that_is_not_one_line_of_text_is_refused(tmp_path, name, kind):
    message = refusal(write_classes(tmp_path, **{name: 3}), fraction=0.5)
    assert f'found {name!r} with a {kind}; rename the class (folder {name!r} in' in message
    assert message.isprintable()


@pytest.mark.parametrize('place', ['nowhere', 'file', 'fifo'])
def test_a_folder_that_is_none_is_refused(tmp_path, place):
    (tmp_path / 'file').write_text('')
    os.mkfifo(tmp_path / 'fifo')
    for fraction in (0.0, 0.2):
        message = refusal(tmp_path / place, fraction=fraction)
        assert f'config.data.dir = {str(tmp_path / place)!r}: expected a folder' in message


def test_a_folder_that_cannot_be_read_is_refused(tmp_path, monkeypatch):
    write_classes(tmp_path, cat=3)
    scandir = os.scandir

    def refuse(path):
        if os.fspath(path).endswith('cat'):
            raise PermissionError(13, 'Permission denied')
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', refuse)
    message = refusal(tmp_path, fraction=0.2)
    assert f"class 'cat': expected a folder {tmp_path}/cat, found: Permission denied" in message
