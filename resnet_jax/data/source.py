"""What a split of a data set is: its examples, the orders that they come in, and their names."""

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Source:
    """A split of a data set.

    Attributes:
      num_examples: in the split.
      class_names: one for each label, in index order.
      elements: `elements(seed, start)` gives a `tf.data.Dataset` of the split's elements from
        position `start` (int64 scalar) on: in stored order when `seed` is None, else permuted by
        `seed` (int64 `[2]`).
      identify: turns an element, inside tf.data, into `{'id': int64, 'label': int32}`. The id is
        the position in stored order.
      load_image: turns an element, inside tf.data, into the image: a JPEG or PNG as a string, or
        uint8 `[H, W, 3]`.
      is_indexed: whether its elements can be read in any order at the same cost.
      name: says where an example with an id comes from, for messages.
    """

    num_examples: int
    class_names: tuple[str, ...]
    elements: Callable[[tf.Tensor | None, tf.Tensor], tf.data.Dataset]
    identify: Callable[[Any], dict[str, tf.Tensor]]
    load_image: Callable[[Any], tf.Tensor]
    name: Callable[[int], str]
    is_indexed: bool
