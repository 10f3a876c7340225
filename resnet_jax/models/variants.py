"""What published pre-activation residual networks do differently, as a table."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Variant:
    """What tells one published ResNet v2 from another; the defaults are the 2016 paper's network.

    Attributes:
      input_norm: the network begins with a batch norm of the image: 'shift', with its scale fixed
        at 1, 'scale_and_shift', or 'none'.
      stem_norm: the ImageNet stem has batch norm and ReLU between its convolution and pooling.
      deep_stem: three 3x3 convolutions, the first two of half the width with batch norm and ReLU
        behind each, in place of the ImageNet stem's 7x7.
      zero_padded_pooling: zeros around the map take part in the ImageNet stem's max pooling.
      always_project: the first block of every stage projects its shortcut; otherwise only where
        the shape changes.
      projection_input: what a projection reads: 'pre-activated', the block's input behind its
        first batch norm and ReLU, or 'raw'.
      pooled_projection: a projection of stride 2 is a 2x2 mean and a projection of stride 1.
      stride_in_last_block: a stage but the last halves the size in its last block, whose shortcut
        takes every second row and column; otherwise one but the first does in its first.
      biases: the stem, the projections and the last convolution of a block have biases.
      batch_norm_epsilon: added to the variance.
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
    # mxnet's symbols/resnet.py, with which the experiment of 2016 was run.
    'mxnet': Variant(
        input_norm='shift', stem_norm=True, always_project=True, batch_norm_epsilon=2e-5
    ),
    # GluonCV's resnet*_v2 and cifar_resnet*_v2.
    'gluoncv': Variant(input_norm='scale_and_shift', stem_norm=True),
    'gluoncv_cifar': Variant(input_norm='scale_and_shift', projection_input='raw'),
    # timm's resnetv2_* and Facebook's fb.resnet.torch; timm's resnetv2_*d.
    'timm': Variant(),
    'timm_d': Variant(deep_stem=True, pooled_projection=True),
    # keras.applications.ResNet*V2.
    'keras': Variant(
        zero_padded_pooling=True,
        stride_in_last_block=True,
        biases=True,
        batch_norm_epsilon=1.001e-5,
    ),
}
