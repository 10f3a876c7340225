"""Recognition of the network in a file, from the names and shapes of its arrays alone."""

import collections
import dataclasses
import itertools
import re
from collections.abc import Mapping

import numpy as np

from resnet_jax.config.depths import IMAGENET_BLOCKS, cifar_blocks
from resnet_jax.errors import InputError
from resnet_jax.weights import keras, mxnet, timm
from resnet_jax.weights.layouts import Layout, Named

MAX_DEPTH = 1202
"""Greatest depth of a network that is built for a file; no deeper one has been published."""

MAX_NAME_LENGTH = 256  # characters

LAYOUTS: dict[str, dict[str, Layout]] = {
    'mxnet': {
        r'stage\d+_unit\d+_bn1_.*': mxnet.MXNET_SYMBOL,
        r'stage\d+_batchnorm\d+_.*': mxnet.GLUON_EXPORT,
        r'features\.8\.\d+\.bn1\..*': mxnet.GLUON_IMAGENET,
        r'features\.2\.\d+\.bn1\..*': mxnet.GLUON_CIFAR,
    },
    'timm': {r'stages\.\d+\.blocks\.\d+\.norm1\..*': timm.TIMM},
    'keras': {
        r'conv\d+_block\d+_preact_bn/.*': keras.KERAS_NAMED,
        r'batch_normalization_\d+/.*': keras.KERAS_NUMBERED,
    },
}
"""Layouts of each format, by a pattern of the array names that only this layout has."""

NAME_STARTS: dict[str, tuple[tuple[str, str], ...]] = {
    'mxnet': ((r'(arg|aux):', ''), (r'\w*resnetv2\d+_', '')),
    'timm': (),
    'keras': (
        (r'(.*/)?layers/(\w+)/vars/(\d+)', r'\2/\3'),
        (r'(.*/)?(\w+)/(\w+)(:0)?', r'\2/\3'),
    ),
}
"""Patterns of the start of names, with replacements, which are applied in this order.

They remove MXNet's kind of array, the name of Gluon's network, and the folders in a Keras file.
"""

NOT_WEIGHTS = {'mxnet': r'$^', 'timm': r'$^', 'keras': r'optimizer(_weights)?/.*'}
"""Pattern of the names of arrays that do not belong to the network, by format."""


@dataclasses.dataclass(frozen=True)
class Network:
    """A network that was recognised in a file.

    All attributes but `layout` are fields of `config.model`.

    Attributes:
      layout: names of the arrays in the file.
      variant: name of the published network.
      depth: depth of the most similar network.
      stem: kind of stem; 'imagenet' if the file contains no stem.
      width: number of channels of the first stage; 64 if the file contains no stem.
      num_classes: number of outputs; 1000 if the file contains no head.
    """

    layout: Layout
    variant: str
    depth: int
    stem: str
    width: int
    num_classes: int

    def model_fields(self) -> dict[str, str | int]:
        """Returns the fields of `config.model`, such as `{'model.depth': 50}`."""
        fields = ('variant', 'depth', 'stem', 'width', 'num_classes')
        return {f'model.{field}': getattr(self, field) for field in fields}


def clean_names(
    file_format: str, arrays: Mapping[str, np.ndarray], *, where: str
) -> dict[str, np.ndarray]:
    """Returns the arrays of the network, with their names as in its layout.

    Raises:
      InputError: if two arrays have the same name, or if a name is too long.
    """
    cleaned: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        if len(name) > MAX_NAME_LENGTH:
            raise InputError(
                f'--weights={where}: expected names of up to {MAX_NAME_LENGTH} characters, found '
                f'one of {len(name):,}; choose a file of weights'
            )
        if re.fullmatch(NOT_WEIGHTS[file_format], name):
            continue
        clean_name = name
        for pattern, replacement in NAME_STARTS[file_format]:
            clean_name = re.sub(rf'^(?:{pattern})', replacement, clean_name, count=1)
        if clean_name in cleaned:
            raise InputError(
                f'--weights={where}: expected the arrays of one network, found {clean_name!r} '
                f'twice, once as {name!r}; choose a file of one network'
            )
        cleaned[clean_name] = array
    return cleaned


def recognise(file_format: str, arrays: Mapping[str, np.ndarray], *, where: str) -> Network:
    """Returns the network to which the arrays belong, or the most similar one.

    Args:
      file_format: name of the format, a key of `LAYOUTS`.
      arrays: arrays from `clean_names`.
      where: name of the file, for messages.

    Raises:
      InputError: if they are not the arrays of a ResNet v2, or not of a supported depth.
    """
    layout = _find_layout(file_format, arrays, where)
    if isinstance(layout, Named):
        blocks, bottleneck = _count_named(layout, arrays)
    elif layout is mxnet.GLUON_EXPORT:
        blocks, bottleneck = _count_gluon(arrays)
    else:
        blocks, bottleneck = _count_keras(arrays), True
    variant, stem_kernel, head_kernel = _recognise_outside_blocks(layout, len(blocks), arrays)
    stem = _sizes(arrays, stem_kernel, layout.leaves.kernel)
    has_small_stem = stem.get('H') == 3 and variant != 'timm_d'
    return Network(
        layout=layout,
        variant=variant,
        depth=_nearest_depth(blocks, bottleneck, where=where),
        stem='cifar' if has_small_stem else 'imagenet',
        width=stem.get('O', 64),
        num_classes=_sizes(arrays, head_kernel, layout.leaves.head).get('O', 1000),
    )


def _sizes(arrays: Mapping[str, np.ndarray], name: str, axes: str) -> dict[str, int]:
    """Returns the size of each axis of an array; empty if it is missing or has other axes."""
    shape = arrays[name].shape if name in arrays else ()
    return dict(zip(axes, shape, strict=True)) if len(shape) == len(axes) and all(shape) else {}


def _find_layout(file_format: str, arrays: Mapping[str, np.ndarray], where: str) -> Layout:
    for pattern, layout in LAYOUTS[file_format].items():
        if any(re.fullmatch(pattern, name) for name in arrays):
            return layout
    first_names = ', '.join(sorted(arrays)[:5])
    raise InputError(
        f'--weights={where}: expected the arrays of a ResNet v2 from {file_format}, found '
        f'{len(arrays)} other arrays'
        + (f', such as {first_names}' if first_names else '')
        + '; check the file and --format'
    )


def _recognise_outside_blocks(
    layout: Layout, num_stages: int, arrays: Mapping[str, np.ndarray]
) -> tuple[str, str, str]:
    """Returns the variant, and the names in the file of the last stem kernel and of the head's."""
    variants = {
        mxnet.MXNET_SYMBOL: 'mxnet',
        mxnet.GLUON_EXPORT: 'gluoncv_cifar' if num_stages == 3 else 'gluoncv',
        mxnet.GLUON_IMAGENET: 'gluoncv',
        mxnet.GLUON_CIFAR: 'gluoncv_cifar',
        timm.TIMM: 'timm_d' if 'stem.conv1.weight' in arrays else 'timm',
        keras.KERAS_NAMED: 'keras',
        keras.KERAS_NUMBERED: 'keras',
    }
    variant = variants[layout]
    stem = 'stem/conv3' if variant == 'timm_d' else 'stem/conv'
    modules = layout.name_modules([stem, 'head'])
    kernel = layout.leaves.linear['kernel']
    return variant, modules[stem] + kernel, modules['head'] + kernel


def _count_named(layout: Named, arrays: Mapping[str, np.ndarray]) -> tuple[tuple[int, ...], bool]:
    """Returns the number of blocks in each stage, and whether they are bottlenecks."""
    prefix = re.escape(layout.block_prefix.format(stage='STAGE', block='BLOCK'))
    pattern = re.compile(prefix.replace('STAGE', r'(\d+)').replace('BLOCK', r'(\d+)') + '(.*)')
    third_kernel = layout.parts['conv3'] + layout.leaves.linear['kernel']
    blocks: dict[str, set[str]] = collections.defaultdict(set)
    bottleneck = False
    for match in filter(None, map(pattern.fullmatch, arrays)):
        blocks[match[1]].add(match[2])
        bottleneck = bottleneck or match[3] == third_kernel
    return tuple(len(blocks[stage]) for stage in sorted(blocks, key=_numeric)), bottleneck


def _numeric(digits: str) -> tuple[int, str]:
    """Returns a sort key that orders texts of digits, of any length, by their values."""
    return len(digits), digits


def _count_gluon(arrays: Mapping[str, np.ndarray]) -> tuple[tuple[int, ...], bool]:
    """Returns the number of blocks in each stage, and whether they are bottlenecks."""
    matches = [re.fullmatch(r'stage(\d+)_batchnorm\d+_gamma', name) for name in arrays]
    norms = collections.Counter(match[1] for match in matches if match)
    first_kernel = arrays.get('stage1_conv0_weight')
    bottleneck = first_kernel is not None and first_kernel.ndim == 4 and first_kernel.shape[2] == 1
    norms_per_block = 3 if bottleneck else 2
    return tuple(
        norms[stage] // norms_per_block for stage in sorted(norms, key=_numeric)
    ), bottleneck


def _count_keras(arrays: Mapping[str, np.ndarray]) -> tuple[int, ...]:
    """Returns the number of blocks in each stage.

    A block has three norms, so the norms 1, 4, 7, ... are the `norm2` of the blocks. All blocks of
    a stage have the same number of channels there, and each stage has another.
    """
    widths = []
    for number in range(1, len(arrays), 3):
        scale = arrays.get(f'batch_normalization_{number}/0')
        if scale is None:
            break
        widths.append(scale.shape)
    return tuple(len(list(group)) for _, group in itertools.groupby(widths))


def _nearest_depth(blocks: tuple[int, ...], bottleneck: bool, *, where: str) -> int:
    """Returns the depth with these numbers of blocks in its stages, or else the nearest depth."""
    if len(blocks) == 3:
        per_stage = max(round(sum(blocks) / 3), 1)
        depth = (9 if bottleneck else 6) * per_stage + 2
        if depth <= MAX_DEPTH and cifar_blocks(depth) == (bottleneck, per_stage):
            return depth
        kind = 'bottlenecks' if bottleneck else 'basic blocks'
        raise InputError(
            f'--weights={where}: expected a supported depth (config.model.depth), found three '
            f'stages of {per_stage} {kind}; choose another network'
        )

    def distance(depth: int) -> int:
        pairs = itertools.zip_longest(IMAGENET_BLOCKS[depth], blocks, fillvalue=0)
        return sum(abs(expected_count - count) for expected_count, count in pairs)

    depths = [depth for depth in IMAGENET_BLOCKS if (depth >= 50) == bottleneck]
    return min(depths, key=distance)
