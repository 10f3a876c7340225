"""Two layouts of a network's arrays: one for each block, or identical blocks of a stage stacked.

A network that computes identical blocks in a loop (`config.model.scan_blocks`) holds their arrays
stacked, `stage2_blocks/conv1/kernel` with a leading axis for `stage2_block2`, `stage2_block3`, ...
That layout exists in memory only: files know each block by its own name.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def stack_blocks(tree: Any, num_scanned: tuple[int, ...]) -> Any:
    """Stacks the arrays of the blocks that are computed in a loop.

    Args:
      tree: of NumPy or JAX arrays or of `jax.ShapeDtypeStruct`; parameters, statistics, or
        anything that holds trees of their shape, such as an optimizer's state.
      num_scanned: of each stage, the blocks in its loop: so many from the second on.

    Returns:
      The tree with NumPy arrays in place of those blocks'; the others are as they were.
    """

    def stack(blocks: dict[str, Any]) -> dict[str, Any]:
        blocks = dict(blocks)
        for stage, names in _loops(num_scanned):
            parts = [blocks.pop(name) for name in names]
            blocks[stage] = jax.tree.map(_stack, *parts)
        return blocks

    return _map_blocks(stack, tree)


def unstack_blocks(tree: Any, num_scanned: tuple[int, ...]) -> Any:
    """Undoes `stack_blocks`; fetches JAX arrays to the host."""

    def unstack(blocks: dict[str, Any]) -> dict[str, Any]:
        blocks = dict(blocks)
        for stage, names in _loops(num_scanned):
            stacked = blocks.pop(stage)
            for index, name in enumerate(names):
                blocks[name] = jax.tree.map(lambda array, i=index: _take(array, i), stacked)
        return blocks

    return _map_blocks(unstack, _on_host(tree) if any(num_scanned) else tree)


def _loops(num_scanned: tuple[int, ...]) -> list[tuple[str, list[str]]]:
    """Returns the name of each stage's loop, and of the blocks in it."""
    return [
        (f'stage{stage}_blocks', [f'stage{stage}_block{block}' for block in range(2, count + 2)])
        for stage, count in enumerate(num_scanned, 1)
        if count
    ]


def _map_blocks(function: Callable[[dict], dict], tree: Any) -> Any:
    """Applies a function to each dict of blocks in a tree."""

    def is_blocks(node: Any) -> bool:
        return isinstance(node, dict) and any(str(key).startswith('stage1_') for key in node)

    return jax.tree.map(
        lambda node: function(node) if is_blocks(node) else node, tree, is_leaf=is_blocks
    )


def _on_host(tree: Any) -> Any:
    """Fetches arrays all at once: to cut slices on the devices would compile each."""
    return jax.tree.map(
        lambda leaf: jax.device_get(leaf) if isinstance(leaf, jax.Array) else leaf, tree
    )


def _stack(*arrays: Any) -> Any:
    if isinstance(arrays[0], jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct((len(arrays), *arrays[0].shape), arrays[0].dtype)
    return np.stack(arrays)


def _take(array: Any, index: int) -> Any:
    if isinstance(array, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(array.shape[1:], array.dtype)
    return array[index]
