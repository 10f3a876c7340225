"""How the arrays of other frameworks are named: one table a layout.

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

# MXNet's symbols/resnet.py. The scale of its bn_data is fixed at 1, whatever the file says.
MXNET_SYMBOL = Named(
    leaves=Leaves(
        norm={'scale': '_gamma', 'bias': '_beta', 'mean': '_moving_mean', 'var': '_moving_var'},
        other={'kernel': '_weight', 'bias': '_bias'},
    ),
    modules={
        'input_norm': 'bn_data',
        'stem/conv': 'conv0',
        'stem/norm': 'bn0',
        'final_norm': 'bn1',
        'head': 'fc1',
    },
    block='stage{stage}_unit{block}_',
    first=(1, 1),
    parts={
        'norm1': 'bn1',
        'norm2': 'bn2',
        'norm3': 'bn3',
        'conv1': 'conv1',
        'conv2': 'conv2',
        'conv3': 'conv3',
        'projection': 'sc',
    },
    ignored='bn_data_gamma',
)

# Gluon's HybridBlock.export, behind the name of the network.
GLUON_EXPORT = Numbered(
    leaves=Leaves(
        norm={'scale': '_gamma', 'bias': '_beta', 'mean': '_running_mean', 'var': '_running_var'},
        other={'kernel': '_weight', 'bias': '_bias'},
    ),
    kinds={'norm': 'batchnorm', 'conv': 'conv', 'head': 'dense'},
    stage='stage{stage}_',
    order=('norm1', 'conv1', 'norm2', 'conv2', 'norm3', 'conv3', 'projection'),
    number='{n}',
    first='0',
)

# Gluon's Block.save_parameters: positions in GluonCV's `features`.
_GLUON_LEAVES = Leaves(
    norm={'scale': '.gamma', 'bias': '.beta', 'mean': '.running_mean', 'var': '.running_var'},
    other={'kernel': '.weight', 'bias': '.bias'},
)
_GLUON_PARTS = {
    'norm1': 'bn1',
    'norm2': 'bn2',
    'norm3': 'bn3',
    'conv1': 'conv1',
    'conv2': 'conv2',
    'conv3': 'conv3',
    'projection': 'downsample',
}
GLUON_IMAGENET = Named(
    leaves=_GLUON_LEAVES,
    modules={
        'input_norm': 'features.0',
        'stem/conv': 'features.1',
        'stem/norm': 'features.2',
        'final_norm': 'features.9',
        'head': 'output',
    },
    block='features.{stage}.{block}.',
    first=(5, 0),
    parts=_GLUON_PARTS,
)
GLUON_CIFAR = Named(
    leaves=_GLUON_LEAVES,
    modules={
        'input_norm': 'features.0',
        'stem/conv': 'features.1',
        'final_norm': 'features.5',
        'head': 'output',
    },
    block='features.{stage}.{block}.',
    first=(2, 0),
    parts=_GLUON_PARTS,
)

# timm's models/resnetv2.py; the head is a 1x1 convolution.
TIMM = Named(
    leaves=Leaves(
        norm={'scale': '.weight', 'bias': '.bias', 'mean': '.running_mean', 'var': '.running_var'},
        other={'kernel': '.weight', 'bias': '.bias'},
        head='OI11',
    ),
    modules={
        'stem/conv': 'stem.conv',
        'stem/conv1': 'stem.conv1',
        'stem/norm1': 'stem.norm1',
        'stem/conv2': 'stem.conv2',
        'stem/norm2': 'stem.norm2',
        'stem/conv3': 'stem.conv3',
        'final_norm': 'norm',
        'head': 'head.fc',
    },
    block='stages.{stage}.blocks.{block}.',
    first=(0, 0),
    parts={
        'norm1': 'norm1',
        'norm2': 'norm2',
        'norm3': 'norm3',
        'conv1': 'conv1',
        'conv2': 'conv2',
        'conv3': 'conv3',
        'projection': 'downsample.conv',
    },
)

# keras.applications.resnet_v2 by its layers' names, in .h5 files of Keras 2 and 3.
KERAS_NAMED = Named(
    leaves=Leaves(
        norm={
            'scale': '/gamma',
            'bias': '/beta',
            'mean': '/moving_mean',
            'var': '/moving_variance',
        },
        other={'kernel': '/kernel', 'bias': '/bias'},
        kernel='HWIO',
        head='IO',
    ),
    modules={'stem/conv': 'conv1_conv', 'final_norm': 'post_bn', 'head': 'predictions'},
    block='conv{stage}_block{block}_',
    first=(2, 1),
    parts={
        'norm1': 'preact_bn',
        'norm2': '1_bn',
        'norm3': '2_bn',
        'conv1': '1_conv',
        'conv2': '2_conv',
        'conv3': '3_conv',
        'projection': '0_conv',
    },
)

# Keras 3's .weights.h5 and .keras: layers of a class in the order of `model.layers`.
KERAS_NUMBERED = Numbered(
    leaves=Leaves(
        norm={'scale': '/0', 'bias': '/1', 'mean': '/2', 'var': '/3'},
        other={'kernel': '/0', 'bias': '/1'},
        kernel='HWIO',
        head='IO',
    ),
    kinds={'norm': 'batch_normalization', 'conv': 'conv2d', 'head': 'dense'},
    stage='',
    order=('norm1', 'conv1', 'norm2', 'conv2', 'norm3', 'projection', 'conv3'),
    number='_{n}',
    first='',
)
