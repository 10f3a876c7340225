"""Photographs for tests of `prepare`, and readers of the prepared data sets."""

import io
from pathlib import Path

import numpy as np
import PIL.Image
import sklearn
import tensorflow as tf

from resnet_jax.config import data_sets, schema
from resnet_jax.console.signals import StopRequest
from resnet_jax.console.terminal import Terminal
from resnet_jax.data.preparation import prepare
from resnet_jax.data.preparation.encoding import Encoding
from resnet_jax.data.sources import registry

PHOTOS = [Path(sklearn.__file__).parent / f'datasets/images/{n}.jpg' for n in ('china', 'flower')]

CLASSES = ('cat', 'n01440764', 'n02123045')

CLASS_NAMES = ('cat', 'n01440764 tench, Tinca tinca', 'n02123045 tabby, tabby cat')

WINDOWS = [  # left, top, width and height in a photograph of 640 x 427 px
    (0, 0, 640, 427),
    (10, 20, 300, 200),
    (300, 100, 61, 200),
    (200, 200, 64, 40),
    (100, 50, 30, 20),
    (50, 150, 32, 32),
    (333, 111, 33, 257),
    (0, 300, 500, 33),
]


def write_photographs(root):
    """Writes 15 different images for training and 6 for validation, of many sizes.

    They are JPEGs and PNGs, and each class has every suffix. The first image is a file of
    scikit-learn. Returns `root`.
    """
    for split, offset in {'train': 0, 'validation': 5}.items():
        for number in range(15 if split == 'train' else 6):
            suffix = 'png' if number % 2 else 'JPEG' if number % 4 else 'jpg'
            path = root / split / CLASSES[number % 3] / f'{number:02}.{suffix}'
            path.parent.mkdir(parents=True, exist_ok=True)
            if not number:
                path.write_bytes(PHOTOS[offset % 2].read_bytes())
                continue
            left, top, width, height = WINDOWS[number % len(WINDOWS)]
            left, top = left + offset % 2, top + number % 2
            box = (left, top, min(left + width, 640), min(top + height, 427))
            image = PIL.Image.open(PHOTOS[number // len(WINDOWS)]).crop(box)
            options = {} if suffix == 'png' else {'quality': 95, 'subsampling': 0}
            image.save(path, 'PNG' if suffix == 'png' else 'JPEG', **options)
    return root


def folder_config(root, **data):
    config = data_sets.use_data(schema.get_config(), 'digits')
    config.data.update({'source': 'folder', 'name': 'photographs', 'dir': str(root)} | data)
    return config


def prepare_set(config, output, *encoding, request=None, stream=None):
    """Prepares a data set in this process and returns the config that reads it."""
    screen = Terminal(stream or io.StringIO())
    prepare.prepare(config, output, Encoding(*encoding), screen, request or StopRequest())
    return prepared_config(config, output)


def prepared_config(config, output):
    prepared = config.copy_and_resolve_references()
    prepared.data.update({'source': 'tfds', 'dir': str(output)})
    return prepared


def folder_of(config):
    """Returns the folder of a prepared data set's files."""
    [folder] = Path(config.data.dir).glob('photographs/*')
    return folder


def read_examples(config, split='train'):
    """Returns the examples of a split in stored order, with images decoded to arrays."""
    source = registry.load_source(config, split)

    def read(element):
        return source.identify(element) | {'image': source.load_image(element)}

    examples = list(source.elements(None, tf.constant(0, tf.int64)).map(read).as_numpy_iterator())
    for example in examples:
        if isinstance(example['image'], bytes):
            example['image'] = np.asarray(PIL.Image.open(io.BytesIO(example['image'])))
    return examples


def read_files(folder):
    """Returns the content of each file in a folder and its subfolders, by relative path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


class StopAfter(StopRequest):
    """A stop request that is made when `count` images are done."""

    def __init__(self, count, number):
        self._count, self._number = count, number

    @property
    def signal(self):
        self._count -= 1
        return self._number if self._count < 0 else None
