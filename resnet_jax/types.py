"""Words that every floor shares: the batch, a prediction, the error for bad input."""

from typing import NamedTuple, TypedDict

import numpy as np


class Batch(TypedDict):
    """A batch of examples, as NumPy arrays on the host.

    Attributes:
      image: uint8 `[N, H, W, 3]`, RGB levels 0-255.
      label: int32 `[N]`.
      mask: bool `[N]`, False where a row only fills up the batch or its image was skipped.
      id: int64 `[N]`, the example's position in its stored split; -1 where a row only fills up.
    """

    image: np.ndarray
    label: np.ndarray
    mask: np.ndarray
    id: np.ndarray


class Prediction(NamedTuple):
    """One of the classes that a network sees in an image."""

    index: int
    name: str
    probability: float
