"""Coarse groups of classes whose names begin with WordNet's synset ids."""

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
"""Where the synset ids of some of WordNet 3.0's lexicographer files begin: its `data.noun` lists
synsets file by file (wordnet.princeton.edu/documentation/lexnames5wn), and an id is a place."""


_DOGS = (2084071, 2114100)
"""From *dog, domestic dog* to before *wolf*, in the same file."""


class Group(NamedTuple):
    """Neighbouring classes of one kind.

    Attributes:
      name: what they are.
      start: the position of the first.
      stop: the position behind the last.
    """

    name: str
    start: int
    stop: int


def find_groups(names: Sequence[str]) -> tuple[list[Group], list[Group]]:
    """Returns the coarse groups of neighbouring classes, and the dogs among them.

    ILSVRC2012 has animals at 0-397, artefacts at 398-915, food at 922-969, and small groups; its
    dogs are 151-268.

    Args:
      names: of the classes in the order in which they are drawn.

    Returns:
      Nothing where a name has no synset id.
    """
    ids = [split_name(name)[0] for name in names]
    if not all(re.fullmatch(r'n\d{8}', key) for key in ids):
        return [], []
    offsets = [int(key[1:]) for key in ids]
    coarse = [next((name for start, name in reversed(_FILES) if n >= start), '') for n in offsets]
    dogs = ['dogs' if _DOGS[0] <= n < _DOGS[1] else '' for n in offsets]
    return _find_runs(coarse), _find_runs(dogs)


def _find_runs(kinds: Sequence[str]) -> list[Group]:
    """Returns the runs of equal kinds; '' is none."""
    last = len(kinds)
    bounds = [i for i in range(last + 1) if i in (0, last) or kinds[i] != kinds[i - 1]]
    return [Group(kinds[i], i, j) for i, j in itertools.pairwise(bounds) if kinds[i]]
