"""Stacking and unstacking of the arrays of identical blocks.

A network that computes identical blocks in a loop (`config.model.scan_blocks`) needs their arrays
stacked: `stage2_blocks/conv1/kernel` has a leading axis for `stage2_block2`, `stage2_block3`, ...
The stacked layout exists in memory only. Files store each block under its own name.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def stack_blocks(tree: Any, num_scanned: tuple[int, ...]) -> Any:
    """Stacks the arrays of the blocks that are computed in a loop.

    Args:
      tree: tree of NumPy arrays, JAX arrays or `jax.ShapeDtypeStruct`: parameters, statistics, or
        a tree that contains trees of the same structure, such as an optimizer's state.
      num_scanned: number of blocks in each stage's loop, as `ResNet.num_scanned`.

    Returns:
      The tree with stacked NumPy arrays in place of those blocks' arrays; the other arrays are
      unchanged.
    """

    def stack(blocks: dict[str, Any]) -> dict[str, Any]:
        blocks = dict(blocks)
        for loop_name, block_names in _loops(num_scanned):
            trees = [blocks.pop(name) for name in block_names]
            blocks[loop_name] = jax.tree.map(_stack, *trees)
        return blocks

    return _map_blocks(stack, tree)


def unstack_blocks(tree: Any, num_scanned: tuple[int, ...]) -> Any:
    """Reverses `stack_blocks`; copies JAX arrays to the host if there are loops."""

    def unstack(blocks: dict[str, Any]) -> dict[str, Any]:
        blocks = dict(blocks)
        for loop_name, block_names in _loops(num_scanned):
            stacked = blocks.pop(loop_name)
            for index, name in enumerate(block_names):
                blocks[name] = jax.tree.map(lambda array, i=index: _take(array, i), stacked)
        return blocks

    return _map_blocks(unstack, _on_host(tree) if any(num_scanned) else tree)


def _loops(num_scanned: tuple[int, ...]) -> list[tuple[str, list[str]]]:
    """Returns the name of each stage's loop and the names of the blocks in it."""
    return [
        (f'stage{stage}_blocks', [f'stage{stage}_block{block}' for block in range(2, count + 2)])
        for stage, count in enumerate(num_scanned, 1)
        if count
    ]


def _map_blocks(function: Callable[[dict], dict], tree: Any) -> Any:
    """Applies a function to each `{block name: arrays}` in a tree."""

    def is_blocks(node: Any) -> bool:
        return isinstance(node, dict) and any(str(key).startswith('stage1_') for key in node)

    return jax.tree.map(
        lambda node: function(node) if is_blocks(node) else node, tree, is_leaf=is_blocks
    )


def _on_host(tree: Any) -> Any:
    """Copies JAX arrays to the host; slicing on the devices compiles a program for each slice."""
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
