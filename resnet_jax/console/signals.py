"""Stop signals: SIGTERM and SIGINT as requests for an orderly stop."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

from resnet_jax.errors import Stopped

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """A request to stop the process, which a signal can make at any time.

    Attributes:
      signal: the first signal that was received, or None.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def raise_if_made(self) -> None:
        """Raises `Stopped` if a signal was received."""
        if self.signal is not None:
            raise Stopped(
                self.signal,
                f'stopped by {self.signal.name} before the first step; run the same command again '
                'to start',
            )


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Catches SIGTERM and SIGINT inside the `with` block and yields the request that they make.

    A SIGINT after the first signal ends the process at once. A thread listens for the signals,
    because Python runs signal handlers only in the main thread, which can compile for minutes. If
    another thread than the main thread calls this function, Python cannot catch signals, and the
    request is never made.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    listener = threading.Thread(target=_listen, args=(reader, request), daemon=True)
    listener.start()
    old_wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    old_handlers = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
    try:
        yield request
    finally:
        for number, handler in old_handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(old_wakeup)
        os.close(writer)
        listener.join()
        os.close(reader)


def _listen(reader: int, request: StopRequest) -> None:
    """Reads the numbers of received signals from a pipe until it is closed."""
    while received := os.read(reader, 1):
        number = received[0]
        if number not in _SIGNALS:
            continue
        if request.signal is not None and number == signal.SIGINT:
            os._exit(128 + number)
        request.signal = request.signal or signal.Signals(number)
