"""`Source`: the interface of a readable split of a data set.

A source hides how its examples are stored. It yields elements, each an index or an undecoded
record, and has functions that turn an element into id, label and stored image. So elements can be
ordered, skipped and divided among processes before any image is decoded.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Source:
    """A readable split of a data set.

    Attributes:
      num_examples: number of examples in the split.
      class_names: name of each label's class, in index order.
      elements: function `elements(seed, start)`, which returns a `tf.data.Dataset` of the split's
        elements from position `start` (int64 scalar) on. They come in stored order if `seed` is
        None, and else in the permutation that `seed` (int64 `[2]`) determines.
      identify: function from an element to `{'id': int64, 'label': int32}`; runs inside tf.data.
        The id is the example's position in stored order.
      load_image: function from an element to its image, the content of an image file as a string
        or uint8 `[H, W, 3]`; runs inside tf.data.
      name: function from an id to the place where the example is stored, such as a path; for
        messages, without characters that cannot be printed.
      is_indexed: whether elements can be read in any order at the same cost.
    """

    num_examples: int
    class_names: tuple[str, ...]
    elements: Callable[[tf.Tensor | None, tf.Tensor], tf.data.Dataset]
    identify: Callable[[Any], dict[str, tf.Tensor]]
    load_image: Callable[[Any], tf.Tensor]
    name: Callable[[int], str]
    is_indexed: bool
