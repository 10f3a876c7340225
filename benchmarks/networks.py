"""Networks that the benchmarks compare: depths, blocks and batch sizes.

They are defined here once more, because an interpreter with PyTorch need not have the libraries of
this project.
"""

from typing import NamedTuple

NUM_CLASSES = 1000
IMAGENET_BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
BATCH_SIZES = {18: 16, 34: 16, 50: 8, 101: 8, 152: 4, 164: 8, 1001: 8}
"""Default batch size by depth, small enough for a CPU; the last two depths are CIFAR's."""


class Network(NamedTuple):
    """A ResNet v2 in timm's variant.

    Attributes:
      blocks: number of blocks in each stage.
      bottleneck: whether a block has the convolutions 1x1, 3x3 and 1x1 with four times the channels
        at its end, instead of 3x3 and 3x3.
      stem: 'imagenet' for a 7x7 convolution with stride 2 and pooling, 'cifar' for a 3x3 one.
      width: number of channels of the 3x3 convolutions in the first stage.
    """

    blocks: tuple[int, ...]
    bottleneck: bool
    stem: str
    width: int


def make_network(depth: int, stem: str) -> Network:
    """Returns the network of a depth.

    Args:
      depth: depth of the network.
      stem: stem of ImageNet's networks; CIFAR's networks always have the stem 'cifar'.
    """
    if depth in IMAGENET_BLOCKS:
        return Network(IMAGENET_BLOCKS[depth], depth >= 50, stem, 64)
    return Network(((depth - 2) // 9,) * 3, True, 'cifar', 16)
