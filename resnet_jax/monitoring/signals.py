"""SIGTERM and SIGINT as a request to stop at the next good moment."""

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

from resnet_jax.types import Stopped


class StopRequest:
    """Says whether somebody asked the process to stop.

    Attributes:
      signal: the first signal that came, or None.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def raise_if_made(self) -> None:
        """Raises `Stopped` if somebody did."""
        if self.signal is not None:
            raise Stopped(self.signal)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            os._exit(128 + number)
        self.signal = self.signal or signal.Signals(number)


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Catches SIGTERM and SIGINT inside the block; a further SIGINT ends the process at once."""
    request = StopRequest()
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, request._receive) for number in numbers}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
