"""Differences between published ResNet v2 networks, as a table of variants."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Variant:
    """Properties in which published ResNet v2 networks differ.

    The defaults are the network of the 2016 paper.

    Attributes:
      input_norm: batch norm of the image before the stem: 'shift' (its scale is fixed at 1),
        'scale_and_shift', or 'none'.
      stem_norm: the ImageNet stem has batch norm and ReLU between its convolution and its pooling.
      deep_stem: the ImageNet stem has three 3x3 convolutions instead of one 7x7. The first two
        have half the width, and batch norm and ReLU follow each of the two.
      zero_padded_pooling: the max pooling of the ImageNet stem pads the map with zeros, which take
        part in the maximum.
      always_project: the first block of every stage has a projection in its shortcut; otherwise
        only if the block changes the shape.
      projection_input: input of a projection: 'raw', the block's input, or 'pre-activated', the
        same after the first batch norm and ReLU.
      pooled_projection: a projection with stride 2 is a 2x2 mean and then a projection with
        stride 1.
      stride_in_last_block: every stage except the last one halves the size, in its last block,
        whose shortcut takes every second row and column. Otherwise every stage except the first
        one halves the size, in its first block.
      biases: the stem, the projections and the last convolution of each block have biases.
      batch_norm_epsilon: number added to the variance in batch norm.
    """

    input_norm: str = 'none'
    stem_norm: bool = False
    deep_stem: bool = False
    zero_padded_pooling: bool = False
    always_project: bool = False
    projection_input: str = 'pre-activated'
    pooled_projection: bool = False
    stride_in_last_block: bool = False
    biases: bool = False
    batch_norm_epsilon: float = 1e-5


VARIANTS = {
    # mxnet's symbols/resnet.py, the network of the 2016 experiment.
    'mxnet': Variant(
        input_norm='shift', stem_norm=True, always_project=True, batch_norm_epsilon=2e-5
    ),
    # GluonCV's resnet*_v2 and cifar_resnet*_v2.
    'gluoncv': Variant(input_norm='scale_and_shift', stem_norm=True),
    'gluoncv_cifar': Variant(input_norm='scale_and_shift', projection_input='raw'),
    # timm's resnetv2_* and Facebook's fb.resnet.torch.
    'timm': Variant(),
    # timm's resnetv2_*d.
    'timm_d': Variant(deep_stem=True, pooled_projection=True),
    # keras.applications.ResNet*V2.
    'keras': Variant(
        zero_padded_pooling=True,
        stride_in_last_block=True,
        biases=True,
        batch_norm_epsilon=1.001e-5,
    ),
}
