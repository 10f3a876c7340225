"""Sources (digits, folders, TFDS): their examples, orders and error messages."""

import io
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sklearn import datasets, model_selection

from resnet_jax.config import data_sets, schema
from resnet_jax.data import preprocessing
from resnet_jax.data.sources import registry
from resnet_jax.errors import InputError

PHOTO = datasets.load_sample_image('china.jpg')[100:132, 200:232]


def digits_config(**data):
    config = data_sets.use_data(schema.get_config(), 'digits')
    config.data.update(data)
    return config


def seed(epoch, run=0):
    return tf.constant([run, epoch], tf.int64)


def read(source, element):
    return source.identify(element) | {'image': source.load_image(element)}


def read_all(source, order_seed=None, start=0):
    elements = source.elements(order_seed, tf.constant(start, tf.int64))
    return list(elements.map(lambda e: read(source, e)).as_numpy_iterator())


def ids(source, order_seed=None, start=0):
    elements = source.elements(order_seed, tf.constant(start, tf.int64))
    return [int(i) for i in elements.map(lambda e: source.identify(e)['id']).as_numpy_iterator()]


def png(level):
    image = Image.fromarray(np.full((8, 8, 3), level, np.uint8))
    encoded = io.BytesIO()
    image.save(encoded, 'PNG')
    return encoded.getvalue()


def store(folder, name, label_feature, **splits):
    """Writes a TFDS data set whose i-th image has the level i, each split in five files."""
    import tensorflow_datasets as tfds

    splits = {
        split: [(str(i), {'image': io.BytesIO(png(i)), 'label': i % 3}) for i in levels]
        for split, levels in splits.items()
    }
    image = tfds.features.Image(encoding_format='png')
    tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        version='1.0.0',
        features=tfds.features.FeaturesDict({'image': image, 'label': label_feature}),
        split_datasets=splits,
        data_dir=folder,
        download_config=tfds.download.DownloadConfig(num_shards=5),
    )
    return folder / name / '1.0.0' / 'dataset_info.json'


@pytest.fixture(scope='module')
def tfds_folder(tmp_path_factory):
    import tensorflow_datasets as tfds

    folder = tmp_path_factory.mktemp('tfds')
    names = ['n01440764', 'n02123045', 'cat']
    classes = tfds.features.ClassLabel(names=names)
    store(folder, 'unkeyed', classes, train=range(6))
    store(folder, 'regression', tfds.features.Scalar(np.int64), train=range(6))
    info = store(folder, 'tiny', classes, train=range(53), test=range(53, 60))
    keys = {'tuple': {'items': [{'featureKey': 'image'}, {'featureKey': 'label'}]}}
    info.write_text(json.dumps(json.loads(info.read_text()) | {'supervisedKeys': keys}))
    return folder


@pytest.fixture(scope='module')
def image_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('images')
    for split, count in {'train': 7, 'validation': 2}.items():
        for name in ('n02123045', 'cat', 'B'):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                (folder / split / name / f'{i}.png').write_bytes(png(i))
    return folder


@pytest.fixture(scope='module')
def open_source(tfds_folder, image_folder):
    def open_kind(kind, split='train', **data):
        folders = {'tfds': tfds_folder, 'folder': image_folder, 'digits': ''}
        data = {'name': 'tiny', 'shuffle_group_files': 2} | data
        data = {'source': kind, 'dir': str(folders[kind])} | data
        return registry.load_source(digits_config(**data), split)

    return open_kind


KINDS = pytest.mark.parametrize(('kind', 'size'), [('digits', 1437), ('folder', 21), ('tfds', 53)])


@KINDS
def test_an_epoch_is_a_permutation_of_the_split(open_source, kind, size):
    source = open_source(kind)
    assert source.num_examples == size
    order = ids(source, seed(0))
    assert sorted(order) == list(range(size))
    assert order != list(range(size))


@KINDS
def test_the_order_is_a_function_of_seed_and_epoch(open_source, kind, size):
    source, again = open_source(kind), open_source(kind)
    assert ids(source, seed(3)) == ids(source, seed(3)) == ids(again, seed(3))
    orders = [ids(source, seed(epoch, run)) for epoch in range(3) for run in range(2)]
    assert len({tuple(order) for order in orders}) == 6


@KINDS
@pytest.mark.parametrize('epoch', [None, 0, 1])
def test_starting_anywhere_gives_the_tail_of_the_order(open_source, kind, size, epoch):
    source = open_source(kind)
    order_seed = None if epoch is None else seed(epoch)
    whole = ids(source, order_seed)
    for start in sorted({0, 1, 10, 11, 20, 21, size // 2, size - 11, size - 1, size}):
        assert ids(source, order_seed, start) == whole[start:]


@KINDS
def test_ids_are_positions_in_stored_order_in_any_order_of_reading(open_source, kind, size):
    source = open_source(kind)
    stored, shuffled = read_all(source), read_all(source, seed(1))
    assert [example['id'] for example in stored] == list(range(size))
    for example in shuffled:
        same = stored[example['id']]
        assert example['label'] == same['label']
        assert np.array_equal(example['image'], same['image'])
    assert (stored[0]['id'].dtype, stored[0]['label'].dtype) == (np.int64, np.int32)


def test_digits_are_scikit_learns_own_split():
    digits = datasets.load_digits()
    expected = dict(
        zip(
            ('train', 'validation'),
            model_selection.train_test_split(
                np.arange(1797), test_size=360, stratify=digits.target, random_state=0
            ),
            strict=True,
        )
    )
    assert {split: len(rows) for split, rows in expected.items()} == {
        'train': 1437,
        'validation': 360,
    }
    for split, rows in expected.items():
        source = registry.load_source(digits_config(), split)
        examples = read_all(source)
        assert source.class_names == ('0', '1', '2', '3', '4', '5', '6', '7', '8', '9')
        assert [e['label'] for e in examples] == list(digits.target[rows])
        images = np.stack([e['image'] for e in examples])
        assert (images.dtype, images.shape[1:]) == (np.uint8, (8, 8, 3))
        assert (images[..., :1] == images).all()
        assert (abs(images[..., 0] - digits.images[rows] * 255 / 16) <= 0.5).all()
        counts = np.bincount([e['label'] for e in examples])
        share = np.bincount(digits.target) * len(rows) / 1797
        assert (abs(counts - share) <= 1).all()
        if split == 'train':
            assert np.allclose(images.mean(axis=(0, 1, 2)), digits_config().data.mean, atol=0.05)
            assert np.allclose(images.std(axis=(0, 1, 2)), digits_config().data.std, atol=0.05)


def test_an_unknown_split_of_digits_is_refused():
    with pytest.raises(InputError, match="'test' of digits: expected one of train, validation"):
        registry.load_source(digits_config(), 'test')


def test_folder_classes_are_in_sorted_order_with_their_words(open_source):
    source = open_source('folder')
    assert source.class_names == ('B', 'cat', 'n02123045 tabby, tabby cat')
    examples = read_all(source)
    assert [e['label'] for e in examples] == [0] * 7 + [1] * 7 + [2] * 7
    assert [e['image'] for e in examples] == [png(i) for i in range(7)] * 3
    assert open_source('folder', 'validation').num_examples == 6


def write_photos(folder):
    """Writes the photo in every format and suffix, and returns the paths in sorted order."""
    folder.mkdir(parents=True)
    photo = Image.fromarray(PHOTO)
    alpha = photo.convert('RGBA')
    alpha.putalpha(Image.linear_gradient('L').resize(photo.size))
    variants = {
        'a.jpg': photo,
        'b.JPG': photo,
        'c.jpeg': photo,
        'd.png': photo,
        'e.PNG': photo,
        'grey.jpg': photo.convert('L'),
        'grey.png': photo.convert('L'),
        'grey_alpha.png': photo.convert('LA'),
        'cmyk.jpg': photo.convert('CMYK'),
        'palette.png': photo.convert('P'),
        'alpha.png': alpha,
        'bit.png': photo.convert('1'),
    }
    for name, image in variants.items():
        kind = 'PNG' if name.lower().endswith('png') else 'JPEG'
        image.save(folder / name, kind, **({'quality': 95} if kind == 'JPEG' else {}))
    return [folder / name for name in sorted(variants)]


def test_a_folders_images_become_rgb_as_pillow_converts_them(tmp_path):
    paths = write_photos(tmp_path / 'train' / 'x')
    for name in ('readme.txt', 'Thumbs.db', 'a.jpg.part', 'png'):
        (tmp_path / 'train' / 'x' / name).write_text('no image')
    config = digits_config(source='folder', dir=str(tmp_path), image_size=32, resize_size=32)
    source = registry.load_source(config, 'train')
    transform = preprocessing.make_evaluation_transform(config)
    examples = read_all(source)
    assert len(examples) == len(paths) == 12
    for path, example in zip(paths, examples, strict=True):
        expected = np.asarray(Image.open(path).convert('RGB')).astype(int)
        decoded = transform(tf.constant(example['image'])).numpy()
        assert (decoded.dtype, decoded.shape) == (np.uint8, (32, 32, 3))
        difference = abs(decoded - expected)
        if path.suffix.lower() == '.png':
            assert difference.max() == 0, path.name
        else:  # decoders differ in rounding and in the colours between pixels
            assert difference.mean() < 2, path.name


def test_hidden_files_and_folders_are_ignored(tmp_path):
    folder = tmp_path / 'train' / 'x'
    folder.mkdir(parents=True)
    (folder / 'a.png').write_bytes(png(1))
    (folder / '._a.png').write_bytes(b'metadata that macOS writes next to a.png')
    (folder / 'album.png').mkdir()
    (tmp_path / 'train' / '.cache').mkdir()
    source = registry.load_source(digits_config(source='folder', dir=str(tmp_path)), 'train')
    assert source.class_names == ('x',)
    assert [e['image'] for e in read_all(source)] == [png(1)]


def test_files_are_read_only_when_their_image_is_requested(tmp_path):
    (tmp_path / 'train' / 'x').mkdir(parents=True)
    (tmp_path / 'train' / 'x' / 'a.png').write_bytes(png(1))
    source = registry.load_source(digits_config(source='folder', dir=str(tmp_path)), 'train')
    (tmp_path / 'train' / 'x' / 'a.png').write_bytes(png(2))
    assert [e['image'] for e in read_all(source)] == [png(2)]


def test_a_folder_with_missing_parts_is_refused_by_name(tmp_path):
    def refusal(split, folder=tmp_path):
        with pytest.raises(InputError) as error:
            registry.load_source(digits_config(source='folder', dir=str(folder)), split)
        return str(error.value)

    assert f'{tmp_path}/nowhere' in refusal('train', tmp_path / 'nowhere')
    assert 'data.dir' in refusal('train', tmp_path / 'nowhere')
    assert f'{tmp_path}/train' in refusal('train')
    (tmp_path / 'train').mkdir()
    assert "'train'" in refusal('train')
    assert 'class' in refusal('train')
    for name in ('full', 'empty'):
        (tmp_path / 'train' / name).mkdir()
    (tmp_path / 'train' / 'full' / 'a.png').write_bytes(png(1))
    (tmp_path / 'train' / 'empty' / 'notes.txt').write_text('nothing here')
    assert "class 'empty'" in refusal('train')
    assert f'{tmp_path}/train/empty' in refusal('train')
    assert "'validation'" in refusal('validation')
    assert f'found train in {tmp_path}' in refusal('validation')


def test_a_tfds_set_keeps_its_files_bytes_labels_and_class_names(open_source):
    source = open_source('tfds')
    assert source.class_names == (
        'n01440764 tench, Tinca tinca',
        'n02123045 tabby, tabby cat',
        'cat',
    )
    levels = [tf.io.decode_png(e['image']).numpy() for e in read_all(source)]
    assert sorted(int(level.max()) for level in levels) == list(range(53))
    assert [int(level.max()) % 3 for level in levels] == [e['label'] for e in read_all(source)]


def level_set(source):
    return {int(tf.io.decode_png(e['image']).numpy().max()) for e in read_all(source, seed(0))}


@pytest.mark.parametrize('group', [1, 2, 16])
def test_slices_of_a_tfds_split_divide_it(open_source, group):
    first = open_source('tfds', 'train[:50%]', shuffle_group_files=group)
    second = open_source('tfds', 'train[50%:]', shuffle_group_files=group)
    assert first.num_examples + second.num_examples == 53
    assert abs(first.num_examples - 26.5) == 0.5
    for source in (first, second):
        assert ids(source) == sorted(ids(source, seed(0))) == list(range(source.num_examples))
        assert ids(source, seed(0), 15) == ids(source, seed(0))[15:]
    assert level_set(first) | level_set(second) == set(range(53))
    assert not level_set(first) & level_set(second)
    assert level_set(open_source('tfds', 'test')) == set(range(53, 60))


def test_the_stored_order_is_that_of_tfds(open_source, tfds_folder):
    import tensorflow_datasets as tfds

    one_by_one = tfds.ReadConfig(interleave_cycle_length=1)
    expected = tfds.load('tiny', split='train', data_dir=tfds_folder, read_config=one_by_one)
    images = [tf.io.decode_png(e['image']).numpy() for e in read_all(open_source('tfds'))]
    assert np.array_equal(images, [e['image'] for e in expected.as_numpy_iterator()])


def test_a_tfds_set_with_one_image_and_one_class_needs_no_supervised_keys(open_source):
    assert level_set(open_source('tfds', name='unkeyed')) == set(range(6))


@pytest.mark.parametrize('split', ['validation', 'train[:x%]', 'train[', ''])
def test_an_unknown_split_of_a_tfds_set_is_refused(open_source, split):
    with pytest.raises(InputError) as refusal:
        open_source('tfds', split)
    assert repr(split) in str(refusal.value)
    assert 'test, train' in str(refusal.value) or 'train, test' in str(refusal.value)


@pytest.mark.parametrize('split', ['train[:0%]', 'train[53:]'])
def test_a_split_without_examples_is_refused(open_source, split):
    with pytest.raises(InputError) as refusal:
        open_source('tfds', split)
    assert repr(split) in str(refusal.value)


def test_a_data_set_without_images_and_classes_is_refused(open_source):
    with pytest.raises(InputError, match="'regression'.*classification"):
        open_source('tfds', name='regression')


def test_unprepared_imagenet_is_refused_with_instructions(tmp_path):
    config = schema.get_config()
    config.data.dir = str(tmp_path)
    with pytest.raises(InputError) as refusal:
        registry.load_source(config, 'train')
    for text in (
        'ILSVRC2012_img_train.tar',
        'ILSVRC2012_img_val.tar',
        f'{tmp_path}/downloads/manual',
        f'tfds build imagenet2012 --data_dir={tmp_path}',
        '--config=configs/resnet18.py:digits',
    ):
        assert text in str(refusal.value)


def test_other_unprepared_data_sets_are_refused_without_archives(tmp_path):
    config = data_sets.use_data(schema.get_config(), 'cifar10')
    config.data.dir = str(tmp_path)
    with pytest.raises(InputError, match=f'tfds build cifar10 --data_dir={tmp_path}') as refusal:
        registry.load_source(config, 'train')
    assert 'ILSVRC' not in str(refusal.value)


@pytest.mark.parametrize('name', ['no_such_set', 'Not A Name', ''])
def test_an_unknown_tfds_set_is_refused(open_source, name):
    with pytest.raises(InputError) as refusal:
        open_source('tfds', name=name)
    assert f'config.data.name = {name!r}' in str(refusal.value)
