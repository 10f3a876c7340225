"""The networks that our code and its peers build for comparison.

They are written out, because an interpreter that has PyTorch need not have what this project needs.
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
"""By depth, small enough for a CPU; the last two are CIFAR's."""


class Network(NamedTuple):
    """A ResNet v2 in timm's variant.

    Attributes:
      blocks: of each stage.
      bottleneck: whether a block is 1x1, 3x3, 1x1 with four times the channels, or 3x3, 3x3.
      stem: 'imagenet' is 7x7 with stride 2 and pooling, 'cifar' 3x3.
      width: channels of the first stage's 3x3.
    """

    blocks: tuple[int, ...]
    bottleneck: bool
    stem: str
    width: int


def make_network(depth: int, stem: str) -> Network:
    """Returns the network of a depth; CIFAR's have their own stem whatever is asked for."""
    if depth in IMAGENET_BLOCKS:
        return Network(IMAGENET_BLOCKS[depth], depth >= 50, stem, 64)
    return Network(((depth - 2) // 9,) * 3, True, 'cifar', 16)
