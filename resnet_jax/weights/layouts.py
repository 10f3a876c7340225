"""Layouts: the two ways in which other frameworks name the arrays of a network.

Our module `stage2_block1/norm1` has another name in a file of another framework, for example
`stages.1.blocks.0.norm1`. Its arrays have other names too: our `scale` is `.weight`. The name of an
array in the file is both together.

A layout either has a name for each module (`Named`), or counts the modules in the order in which
the framework's code creates them (`Numbered`). The module of a format holds its layouts.
"""

import collections
import dataclasses
import re
from collections.abc import Iterable, Mapping

BLOCK = re.compile(r'stage(\d+)_block(\d+)/(\w+)')
"""Pattern of the names of our modules in a block: number of the stage, of the block, and part."""

Names = Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Leaves:
    """Names of the arrays of a module, which are appended to the name of the module.

    Attributes:
      norm: names of the arrays of a batch norm, by our names.
      linear: names of the arrays of a convolution or of the head, by our names.
      kernel: axes of a convolution's kernel in the file; ours are 'HWIO'.
      head: axes of the head's kernel in the file; ours are 'IO'.
    """

    norm: Names
    linear: Names
    kernel: str = 'OIHW'
    head: str = 'OI'


@dataclasses.dataclass(frozen=True, eq=False)
class Named:
    """Layout with a name for each module.

    Attributes:
      leaves: names of the arrays of a module.
      modules: names of the modules outside of blocks, by our names.
      block_prefix: start of a module's name in a block, with the numbers `{stage}` and `{block}`.
      first_block: number of the first stage, and of the first block in a stage.
      parts: names of the modules in a block, by our names.
      ignored: name of an array that the file contains and the network does not use.
    """

    leaves: Leaves
    modules: Names
    block_prefix: str
    first_block: tuple[int, int]
    parts: Names
    ignored: str = ''

    def name_modules(self, modules: Iterable[str]) -> dict[str, str]:
        """Returns the names of modules in the file, by our names."""
        return {module: self._name(module) for module in modules}

    def _name(self, module: str) -> str:
        match = BLOCK.fullmatch(module)
        if not match:
            return self.modules[module]
        first_stage, first_block = self.first_block
        stage, block = int(match[1]) - 1 + first_stage, int(match[2]) - 1 + first_block
        return self.block_prefix.format(stage=stage, block=block) + self.parts[match[3]]


@dataclasses.dataclass(frozen=True, eq=False)
class Numbered:
    """Layout that counts the modules of each kind.

    Attributes:
      leaves: names of the arrays of a module.
      kinds: names of the kinds 'norm', 'conv' and 'head' in the file.
      stage_prefix: start of a module's name in a block, with the number `{stage}` from 1. Each
        stage then has its own counts. If it is empty, the counts run through the whole network.
      order: our names of the modules in a block, in the order in which they are counted.
      suffix: end of a module's name, with its count `{n}`, from 1.
      first_suffix: end of the name of the first module of a kind, whose count is 0.
      ignored: as in `Named`.
    """

    leaves: Leaves
    kinds: Names
    stage_prefix: str
    order: tuple[str, ...]
    suffix: str
    first_suffix: str
    ignored: str = ''

    def name_modules(self, modules: Iterable[str]) -> dict[str, str]:
        """Returns the names of modules in the file, by our names.

        Args:
          modules: our names of all modules of a network, in any order.
        """
        counts: collections.Counter = collections.Counter()
        names = {}
        for module in sorted(modules, key=self._position):
            match = BLOCK.fullmatch(module)
            part = match[3] if match else module.rsplit('/', 1)[-1]
            prefix = self.stage_prefix.format(stage=match[1]) if match else ''
            name = prefix + self.kinds[_kind(part)]
            count = counts[name]
            names[module] = name + (self.suffix.format(n=count) if count else self.first_suffix)
            counts[name] += 1
        return names

    def _position(self, module: str) -> tuple[int, ...]:
        """Returns a sort key: the order in which the framework creates the modules."""
        match = BLOCK.fullmatch(module)
        if match:
            return 1, int(match[1]), int(match[2]), self.order.index(match[3])
        before_blocks = ('input_norm', 'stem/conv', 'stem/norm')
        if module in before_blocks:
            return 0, before_blocks.index(module)
        return 2, ('final_norm', 'head').index(module)


def _kind(part: str) -> str:
    if part == 'head':
        return part
    return 'norm' if 'norm' in part else 'conv'


Layout = Named | Numbered
