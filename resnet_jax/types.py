"""Words that every floor shares: the batch, a prediction, the error for bad input."""

from typing import NamedTuple, TypedDict

import numpy as np


class InputError(Exception):
    """Something that the user gave is wrong: a field, a flag, a folder, an image.

    The message says what was expected, what was found and what to do. Commands print it without
    a traceback and exit with status 2. (Not a `ValueError`: the flag libraries wrap those.)
    """


class RunFailed(Exception):
    """A run met something that it must not go on from, such as a loss that is not a number.

    What was saved before stays. Commands print the message without a traceback and exit with
    status 1.
    """


class Stopped(Exception):
    """Somebody asked the process to stop, and it did so at a good moment.

    Attributes:
      number: of the signal; commands exit with status 128 plus this.
    """

    def __init__(self, number: int, message: str = 'stopped'):
        super().__init__(message)
        self.number = number


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
