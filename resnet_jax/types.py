"""Types that all packages share: a batch of examples and a prediction."""

from typing import NamedTuple, TypedDict

import numpy as np


class Batch(TypedDict):
    """A batch of examples, as NumPy arrays on the host.

    Attributes:
      image: uint8 `[N, H, W, 3]`, RGB levels 0-255.
      label: int32 `[N]`, class indices.
      mask: bool `[N]`, False for rows that only fill up the batch and for skipped images.
      id: int64 `[N]`, positions of the examples in their stored split; -1 for rows that only fill
        up the batch.
    """

    image: np.ndarray
    label: np.ndarray
    mask: np.ndarray
    id: np.ndarray


class Prediction(NamedTuple):
    """A class that a network predicts for an image.

    Attributes:
      index: index of the class.
      name: name of the class.
      probability: softmax probability of the class, 0-1.
    """

    index: int  # type: ignore[assignment]  # hides `tuple.index`
    name: str
    probability: float
