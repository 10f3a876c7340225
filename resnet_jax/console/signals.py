"""SIGTERM and SIGINT as a request to stop at the next good moment."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

from resnet_jax.errors import Stopped

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Says whether somebody asked the process to stop.

    Attributes:
      signal: the first signal that came, or None.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def raise_if_made(self) -> None:
        """Raises `Stopped` if somebody did and there is nothing to save yet."""
        if self.signal is not None:
            raise Stopped(
                self.signal,
                f'stopped by {self.signal.name} before a step was done; the same command starts it',
            )


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Catches SIGTERM and SIGINT inside the block; a further SIGINT ends the process at once.

    A thread listens for them, because Python runs signal handlers in the main thread only, which
    may be compiling for minutes.
    """
    request = StopRequest()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    listener = threading.Thread(target=_listen, args=(reader, request), daemon=True)
    listener.start()
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    before = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        os.close(writer)
        listener.join()
        os.close(reader)


def _listen(reader: int, request: StopRequest) -> None:
    """Reads the numbers of the signals that came until the pipe is closed."""
    while received := os.read(reader, 1):
        number = received[0]
        if number not in _SIGNALS:
            continue
        if request.signal is not None and number == signal.SIGINT:
            os._exit(128 + number)
        request.signal = request.signal or signal.Signals(number)
