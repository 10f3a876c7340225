"""The two ways in which other frameworks name their arrays; `names` has the tables.

A module of ours, `stage2_block1/norm1`, has another name there, `stages.1.blocks.0.norm1`, and so
have its arrays: `scale` is `.weight`. Both together are an array's name. Some layouts do not name
modules but count them in the order in which the network's code makes them.
"""

import collections
import dataclasses
import re
from collections.abc import Iterable, Mapping

BLOCK = re.compile(r'stage(\d+)_block(\d+)/(\w+)')
"""A module of ours in a block."""

Names = Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Leaves:
    """What is appended to a module's name for its arrays.

    Attributes:
      norm: of batch norms.
      other: of convolutions and the head.
      kernel: axes of a convolution's kernel there; ours are 'HWIO'.
      head: axes of the head's kernel there; ours are 'IO'.
    """

    norm: Names
    other: Names
    kernel: str = 'OIHW'
    head: str = 'OI'


@dataclasses.dataclass(frozen=True, eq=False)
class Named:
    """A layout whose modules have names.

    Attributes:
      leaves: see there.
      modules: those outside of blocks.
      block: begins a module's name in a block, with its numbers `{stage}` and `{block}`.
      first: those numbers in the first block.
      parts: the modules of a block.
      ignored: an array that the network there has and does not use.
    """

    leaves: Leaves
    modules: Names
    block: str
    first: tuple[int, int]
    parts: Names
    ignored: str = ''

    def name_modules(self, modules: Iterable[str]) -> dict[str, str]:
        """Returns the names there of modules of ours."""
        return {module: self._name(module) for module in modules}

    def _name(self, module: str) -> str:
        match = BLOCK.fullmatch(module)
        if not match:
            return self.modules[module]
        stage, block = int(match[1]) - 1 + self.first[0], int(match[2]) - 1 + self.first[1]
        return self.block.format(stage=stage, block=block) + self.parts[match[3]]


@dataclasses.dataclass(frozen=True, eq=False)
class Numbered:
    """A layout that counts modules of a kind.

    Attributes:
      leaves: see there.
      kinds: the kinds' names there: 'norm', 'conv' and 'head'.
      stage: begins the name of a module in a block, with `{stage}` from 1, and has its own counts;
        empty where the whole network is counted through.
      order: of a block's modules.
      number: appended for the count n from 0; `first` for the first.
      first: see `number`.
      ignored: as in `Named`.
    """

    leaves: Leaves
    kinds: Names
    stage: str
    order: tuple[str, ...]
    number: str
    first: str
    ignored: str = ''

    def name_modules(self, modules: Iterable[str]) -> dict[str, str]:
        """Returns the names there of modules of ours, which must be all of a network's."""
        counts: collections.Counter = collections.Counter()
        names = {}
        for module in sorted(modules, key=self._position):
            match = BLOCK.fullmatch(module)
            part = match[3] if match else module.rsplit('/', 1)[-1]
            name = (self.stage.format(stage=match[1]) if match else '') + self.kinds[_kind(part)]
            number = self.number.format(n=counts[name]) if counts[name] else self.first
            counts[name] += 1
            names[module] = name + number
        return names

    def _position(self, module: str) -> tuple[int, ...]:
        match = BLOCK.fullmatch(module)
        if match:
            return 1, int(match[1]), int(match[2]), self.order.index(match[3])
        before, behind = ('input_norm', 'stem/conv', 'stem/norm'), ('final_norm', 'head')
        if module in before:
            return 0, before.index(module)
        return 2, behind.index(module)


def _kind(part: str) -> str:
    if part == 'head':
        return part
    return 'norm' if 'norm' in part else 'conv'


Layout = Named | Numbered
