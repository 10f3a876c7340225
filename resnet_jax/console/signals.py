"""Stop signals: SIGHUP, SIGINT and SIGTERM end a command, or ask it for an orderly stop.

A signal that is ignored when the process starts stays ignored: SIGHUP under `nohup`, SIGINT in the
background of a script.
"""

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from resnet_jax.errors import Stopped

_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)

_PATIENCE_SECONDS = 10.0
"""Time in which an interrupted command must clean up. C++ code can hold it up for minutes."""


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


class _Interrupt(KeyboardInterrupt):
    """Raised in the main thread by a stop signal."""


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Catches stop signals inside the `with` block and yields the request that they make.

    A SIGINT after the first signal ends the process at once. A thread listens for the signals,
    because Python runs signal handlers only in the main thread, which can compile for minutes. If
    another thread than the main thread calls this function, Python cannot catch signals, and the
    request is never made.
    """
    request = StopRequest()

    def listen(reader: int) -> None:
        while received := os.read(reader, 1):
            number = received[0]
            if number not in _SIGNALS:
                continue
            if request.signal is not None and number == signal.SIGINT:
                _end(number)
            request.signal = request.signal or signal.Signals(number)

    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    with _handled(lambda *_: None, listen):
        yield request


@contextlib.contextmanager
def interrupts() -> Iterator[None]:
    """Interrupts the `with` block at a stop signal, so that it can remove its temporary files.

    The process ends at once, with a line on standard error and status 128 + the signal's number, at
    a second signal, if the block has not ended 10 s after the first one, and during an import: an
    interrupted import can crash, or go on as if nothing had happened.

    Raises:
      Stopped: after a signal, whatever the block has raised.
    """
    received: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        if _is_importing(frame):
            _end(number)
        received.append(number)
        raise _Interrupt

    def listen(reader: int) -> None:
        while (data := os.read(reader, 1)) and data[0] not in _SIGNALS:
            pass
        if not data:
            return
        readable, _, _ = select.select([reader], [], [], _PATIENCE_SECONDS)
        if not readable or os.read(reader, 1):
            _end(data[0])

    old_hook = sys.unraisablehook

    def end_if_ignored(unraisable: Any) -> None:
        if unraisable.exc_type is _Interrupt:  # in a destructor, where Python ignores it
            _end(received[0])
        old_hook(unraisable)

    try:
        with _handled(interrupt, listen):
            sys.unraisablehook = end_if_ignored
            try:
                yield
            finally:
                sys.unraisablehook = old_hook
    except BaseException:
        if not received:
            raise
        stop = signal.Signals(received[0])
        raise Stopped(stop, f'stopped by {stop.name}') from None


def end_at_once() -> None:
    """Lets a stop signal end the process with a line on standard error, until it exits.

    For the time before and after the work of a command, when nothing has to be removed.
    """
    for number in _caught():
        signal.signal(number, lambda received, _: _end(received))


def _caught() -> list[signal.Signals]:
    """Returns the stop signals that are not ignored."""
    return [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


@contextlib.contextmanager
def _handled(
    handle: Callable[[int, FrameType | None], None], listen: Callable[[int], None]
) -> Iterator[None]:
    """Calls functions at stop signals inside the `with` block.

    Args:
      handle: is called in the main thread as soon as that runs Python code.
      listen: runs in a thread, and reads the numbers of received signals from a pipe, a byte for
        each signal, until the pipe is closed.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    listener = threading.Thread(target=listen, args=(reader,), daemon=True)
    listener.start()
    old_wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    old_handlers = {number: signal.signal(number, handle) for number in _caught()}
    try:
        yield
    finally:
        for number, handler in old_handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(old_wakeup)
        os.close(writer)
        listener.join()
        os.close(reader)


def _is_importing(frame: FrameType | None) -> bool:
    """Returns whether a frame is that of an import, or was called by one."""
    while frame is not None:
        if frame.f_code.co_filename.startswith('<frozen importlib'):
            return True
        frame = frame.f_back
    return False


def _end(number: int) -> None:
    """Ends the process at once."""
    with contextlib.suppress(OSError):
        os.write(2, f'stopped by {signal.Signals(number).name}\n'.encode())
    os._exit(128 + number)
