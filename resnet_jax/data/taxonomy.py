"""Coarse groups of ImageNet's classes, such as animals and food, from WordNet's synset ids."""

import itertools
import re
from collections.abc import Sequence
from typing import NamedTuple

from resnet_jax.data.class_names import split_name

_FILES = (
    (1313093, 'animals'),
    (2665985, 'artefacts'),
    (4615866, ''),
    (6251781, 'communication'),
    (7283364, ''),
    (7555863, 'food'),
    (7938773, ''),
    (9186064, 'nature'),
    (9483738, 'people'),
    (11408559, ''),
    (11529603, 'plants'),
    (13240514, ''),
)
"""First synset id of some of WordNet 3.0's lexicographer files, and our name for their classes.

A synset id is an offset in WordNet's `data.noun`, which lists synsets file by file
(wordnet.princeton.edu/documentation/lexnames5wn). So each file is a range of ids. Classes of a
file named '' belong to no group."""

_DOGS = (2084071, 2114100)
"""Range of the synset ids of dogs: from *dog, domestic dog* to just before *wolf*."""


class Group(NamedTuple):
    """Consecutive classes of the same kind.

    Attributes:
      name: name of the kind, such as 'animals'.
      start: position of the first class.
      stop: position of the last class, plus 1.
    """

    name: str
    start: int
    stop: int


def find_groups(names: Sequence[str]) -> tuple[list[Group], list[Group]]:
    """Finds the coarse groups of consecutive classes, and the groups of dogs.

    In the order of ILSVRC2012, animals are at 0-397, artefacts at 398-915 and food at 922-969; the
    other groups are small. The dogs are at 151-268.

    Args:
      names: names of the classes in the order in which they are drawn.

    Returns:
      The coarse groups and the groups of dogs; two empty lists if a name has no synset id.
    """
    ids = [split_name(name)[0] for name in names]
    if not all(re.fullmatch(r'n\d{8}', synset_id) for synset_id in ids):
        return [], []
    offsets = [int(synset_id[1:]) for synset_id in ids]
    coarse = [next((name for start, name in reversed(_FILES) if n >= start), '') for n in offsets]
    dogs = ['dogs' if _DOGS[0] <= n < _DOGS[1] else '' for n in offsets]
    return _find_runs(coarse), _find_runs(dogs)


def _find_runs(kinds: Sequence[str]) -> list[Group]:
    """Returns a group for each run of equal kinds, except of the kind ''."""
    last = len(kinds)
    bounds = [i for i in range(last + 1) if i in (0, last) or kinds[i] != kinds[i - 1]]
    return [Group(kinds[i], i, j) for i, j in itertools.pairwise(bounds) if kinds[i]]
