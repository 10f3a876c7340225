"""Standard output and standard error that fail with a line of text, not with a traceback."""

import errno
import io
import os
import sys
from typing import Any, TextIO

from resnet_jax.errors import RunFailed


class PipeClosed(Exception):
    """Standard output is a pipe whose reader has ended, such as `head -1`."""


class _Output(io.FileIO):
    """Standard output."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            _discard(self.fileno())
            if error.errno == errno.EPIPE:
                raise PipeClosed from None
            raise RunFailed(
                f'standard output cannot be written: {error.strerror}; free some space, or write '
                'it to another place'
            ) from None


class _Errors(io.FileIO):
    """Standard error: what cannot be written there is lost, because nothing else can be told."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            _discard(self.fileno())
            return len(data)


def set_up_streams() -> None:
    r"""Makes the standard streams of this process ready for anything that is printed.

    Characters that the encoding of the terminal lacks, and the bytes of names that are not UTF-8,
    are printed as `\xe4` or `\udce4`. A closed stream (`>&-`) becomes the null device. If standard
    output cannot be written, printing raises `PipeClosed` or `RunFailed`, and what is printed later
    is discarded, so that Python has nothing to complain about when it exits. Streams that a test or
    a notebook has put in the place of the process's own stay as they are.
    """
    for number, name, kind in ((1, 'stdout', _Output), (2, 'stderr', _Errors)):
        stream = getattr(sys, name)
        if stream is None:
            _discard(number)
        elif stream is not getattr(sys, f'__{name}__'):
            continue
        setattr(sys, name, _open(kind(number, 'wb', closefd=False), stream))


def _open(raw: io.FileIO, stream: TextIO | None) -> TextIO:
    """Returns a text stream on a file, with the settings of another stream if there is one."""
    is_unbuffered = bool(getattr(stream, 'write_through', False))
    return io.TextIOWrapper(
        raw if is_unbuffered else io.BufferedWriter(raw),
        encoding=stream.encoding if stream else 'utf-8',
        errors='backslashreplace',
        line_buffering=bool(getattr(stream, 'line_buffering', False)),
        write_through=is_unbuffered,
    )


def _discard(number: int) -> None:
    """Replaces an open file, given by its number, by the null device."""
    null = os.open(os.devnull, os.O_WRONLY)
    if null != number:
        os.dup2(null, number)
        os.close(null)
