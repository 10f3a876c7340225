"""ResNet depths: number of blocks in each stage."""

from resnet_jax.errors import InputError

IMAGENET_BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
    269: (3, 30, 48, 8),
}
"""Number of blocks in each of the four stages, by depth. 18 and 34 have basic blocks, the others
bottlenecks."""


def cifar_blocks(depth: int) -> tuple[bool, int]:
    """Returns whether a CIFAR network has bottlenecks, and the number of blocks in a stage.

    He et al. 2016 (arXiv:1603.05027) build 6n+2 layers from basic blocks and 9n+2 layers from
    bottlenecks, in three stages of n blocks. Depths that fit both, such as 110 and 164, have basic
    blocks up to 110 and bottlenecks above, as in the paper.

    Raises:
      InputError: if the depth fits neither.
    """
    if depth >= 8 and depth % 6 == 2 and (depth <= 110 or depth % 9 != 2):
        return False, (depth - 2) // 6
    if depth >= 11 and depth % 9 == 2:
        return True, (depth - 2) // 9
    raise InputError(
        f'config.model.depth = {depth}: expected one of '
        f'{", ".join(map(str, IMAGENET_BLOCKS))}, or for CIFAR 6n+2 (20, 32, 44, 56, 110, ...) '
        'or 9n+2 (164, 1001, ...)'
    )
