"""Which network a file holds, from the names and shapes of its arrays alone."""

import collections
import dataclasses
import itertools
import re
from collections.abc import Mapping

import numpy as np

from resnet_jax.config.depths import IMAGENET_BLOCKS, cifar_blocks
from resnet_jax.errors import InputError
from resnet_jax.weights import names
from resnet_jax.weights.layouts import Layout, Named

MAX_DEPTH = 1202
"""Deeper networks are not built for a file that claims one; nobody has published one."""

MAX_NAME = 256  # characters

LAYOUTS: dict[str, dict[str, Layout]] = {
    'mxnet': {
        r'stage\d+_unit\d+_bn1_.*': names.MXNET_SYMBOL,
        r'stage\d+_batchnorm\d+_.*': names.GLUON_EXPORT,
        r'features\.8\.\d+\.bn1\..*': names.GLUON_IMAGENET,
        r'features\.2\.\d+\.bn1\..*': names.GLUON_CIFAR,
    },
    'timm': {r'stages\.\d+\.blocks\.\d+\.norm1\..*': names.TIMM},
    'keras': {
        r'conv\d+_block\d+_preact_bn/.*': names.KERAS_NAMED,
        r'batch_normalization_\d+/.*': names.KERAS_NUMBERED,
    },
}
"""The layouts of each format, by a name of an array that only they have."""

CLEANED: dict[str, tuple[tuple[str, str], ...]] = {
    'mxnet': ((r'(arg|aux):', ''), (r'\w*resnetv2\d+_', '')),
    'timm': (),
    'keras': (
        (r'(.*/)?layers/(\w+)/vars/(\d+)', r'\2/\3'),
        (r'(.*/)?(\w+)/(\w+)(:0)?', r'\2/\3'),
    ),
}
"""What is taken off names, in this order, before they are looked at: MXNet's kind of array and the
name of Gluon's network, the folders in a file of Keras."""

NOT_WEIGHTS = {'mxnet': r'$^', 'timm': r'$^', 'keras': r'optimizer(_weights)?/.*'}


@dataclasses.dataclass(frozen=True)
class Network:
    """What a file holds.

    Attributes:
      layout: how its arrays are named.
      variant: this and all below are fields of `config.model`.
      depth: that the file looks most like.
      stem: 'imagenet' where there is none in the file.
      width: 64 where there is no stem in the file.
      num_classes: 1000 where there is no head in the file.
    """

    layout: Layout
    variant: str
    depth: int
    stem: str
    width: int
    num_classes: int

    def model_fields(self) -> dict[str, str | int]:
        """Returns what the file says about `config.model`."""
        fields = ('variant', 'depth', 'stem', 'width', 'num_classes')
        return {f'model.{field}': getattr(self, field) for field in fields}


def clean_names(
    file_format: str, arrays: Mapping[str, np.ndarray], *, where: str
) -> dict[str, np.ndarray]:
    """Returns the arrays of the network under the names of the tables in `names`.

    Raises:
      InputError: when two arrays have the same, or one has none that a network's array has.
    """
    cleaned: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        if len(name) > MAX_NAME:
            raise InputError(
                f'--weights={where}: expected names of up to {MAX_NAME} characters, found one of '
                f'{len(name):,}'
            )
        if re.fullmatch(NOT_WEIGHTS[file_format], name):
            continue
        new = name
        for pattern, replacement in CLEANED[file_format]:
            new = re.sub(rf'^(?:{pattern})', replacement, new, count=1)
        if new in cleaned:
            raise InputError(
                f'--weights={where}: expected one network, found {new!r} twice, once as {name!r}'
            )
        cleaned[new] = array
    return cleaned


def recognise(file_format: str, arrays: Mapping[str, np.ndarray], *, where: str) -> Network:
    """Finds the network that the arrays are those of, or are most like.

    Args:
      file_format: a key of `LAYOUTS`.
      arrays: of `clean_names`.
      where: the file's name, for messages.

    Raises:
      InputError: when they are not a ResNet v2's at all.
    """
    layout = _find_layout(file_format, arrays, where)
    if isinstance(layout, Named):
        blocks, bottleneck = _count_named(layout, arrays)
    elif layout is names.GLUON_EXPORT:
        blocks, bottleneck = _count_gluon(arrays)
    else:
        blocks, bottleneck = _count_keras(arrays), True
    variant, stem_conv, head = _outside(layout, len(blocks), arrays)
    stem = _sizes(arrays, stem_conv, layout.leaves.kernel)
    small = stem.get('H') == 3 and variant != 'timm_d'
    return Network(
        layout=layout,
        variant=variant,
        depth=_nearest_depth(blocks, bottleneck, where=where),
        stem='cifar' if small else 'imagenet',
        width=stem.get('O', 64),
        num_classes=_sizes(arrays, head, layout.leaves.head).get('O', 1000),
    )


def _sizes(arrays: Mapping[str, np.ndarray], name: str, axes: str) -> dict[str, int]:
    """Returns the sizes of an array by axis; none when it is not there or has other axes."""
    shape = arrays[name].shape if name in arrays else ()
    return dict(zip(axes, shape, strict=True)) if len(shape) == len(axes) and all(shape) else {}


def _find_layout(file_format: str, arrays: Mapping[str, np.ndarray], where: str) -> Layout:
    for mark, layout in LAYOUTS[file_format].items():
        if any(re.fullmatch(mark, name) for name in arrays):
            return layout
    found = ', '.join(sorted(arrays)[:5])
    raise InputError(
        f'--weights={where}: expected the arrays of a ResNet v2 from {file_format}, found '
        f'{len(arrays)} arrays of something else' + (f', such as {found}' if found else '')
    )


def _outside(
    layout: Layout, num_stages: int, arrays: Mapping[str, np.ndarray]
) -> tuple[str, str, str]:
    """Returns the variant, and the names of the stem's last kernel and of the head's."""
    variants = {
        names.MXNET_SYMBOL: 'mxnet',
        names.GLUON_EXPORT: 'gluoncv_cifar' if num_stages == 3 else 'gluoncv',
        names.GLUON_IMAGENET: 'gluoncv',
        names.GLUON_CIFAR: 'gluoncv_cifar',
        names.TIMM: 'timm_d' if 'stem.conv1.weight' in arrays else 'timm',
        names.KERAS_NAMED: 'keras',
        names.KERAS_NUMBERED: 'keras',
    }
    variant = variants[layout]
    stem = 'stem/conv3' if variant == 'timm_d' else 'stem/conv'
    modules = layout.name_modules([stem, 'head'])
    kernel = layout.leaves.other['kernel']
    return variant, modules[stem] + kernel, modules['head'] + kernel


def _count_named(layout: Named, arrays: Mapping[str, np.ndarray]) -> tuple[tuple[int, ...], bool]:
    """Returns the blocks of each stage, and whether they are bottlenecks."""
    prefix = re.escape(layout.block.format(stage='STAGE', block='BLOCK'))
    pattern = re.compile(prefix.replace('STAGE', r'(\d+)').replace('BLOCK', r'(\d+)') + '(.*)')
    third = layout.parts['conv3'] + layout.leaves.other['kernel']
    found, bottleneck = collections.defaultdict(set), False
    for match in filter(None, map(pattern.fullmatch, arrays)):
        found[match[1]].add(match[2])
        bottleneck = bottleneck or match[3] == third
    return tuple(len(found[stage]) for stage in sorted(found, key=_numeric)), bottleneck


def _numeric(digits: str) -> tuple[int, str]:
    return len(digits), digits


def _count_gluon(arrays: Mapping[str, np.ndarray]) -> tuple[tuple[int, ...], bool]:
    matches = [re.fullmatch(r'stage(\d+)_batchnorm\d+_gamma', name) for name in arrays]
    norms = collections.Counter(match[1] for match in matches if match)
    first = arrays.get('stage1_conv0_weight')
    bottleneck = first is not None and first.ndim == 4 and first.shape[2] == 1
    per_block = 3 if bottleneck else 2
    return tuple(norms[stage] // per_block for stage in sorted(norms, key=_numeric)), bottleneck


def _count_keras(arrays: Mapping[str, np.ndarray]) -> tuple[int, ...]:
    """Every third norm but the first is the first of those between a block's convolutions."""
    numbers = range(1, len(arrays), 3)
    scales = (arrays.get(f'batch_normalization_{n}/0') for n in numbers)
    widths = [scale.shape for scale in itertools.takewhile(lambda scale: scale is not None, scales)]
    return tuple(len(list(group)) for _, group in itertools.groupby(widths))


def _nearest_depth(blocks: tuple[int, ...], bottleneck: bool, *, where: str) -> int:
    """Returns the depth whose stages have these numbers of blocks, or else the nearest."""
    if len(blocks) == 3:
        per_stage = max(round(sum(blocks) / 3), 1)
        depth = (9 if bottleneck else 6) * per_stage + 2
        if depth <= MAX_DEPTH and cifar_blocks(depth) == (bottleneck, per_stage):
            return depth
        kind = 'bottlenecks' if bottleneck else 'basic blocks'
        raise InputError(
            f'--weights={where}: expected a depth that this project knows, found three stages of '
            f'{per_stage} {kind}'
        )

    def distance(depth: int) -> int:
        pairs = itertools.zip_longest(IMAGENET_BLOCKS[depth], blocks, fillvalue=0)
        return sum(abs(one - other) for one, other in pairs)

    depths = [d for d in IMAGENET_BLOCKS if (d >= 50) == bottleneck]
    return min(depths, key=distance)
