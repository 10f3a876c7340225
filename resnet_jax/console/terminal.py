"""What a person sees while a run goes on: log lines, and on a terminal a progress line below."""

import logging
import math
import os
import shutil
import sys
from pathlib import Path
from typing import TextIO

from absl import logging as absl_logging

_PACKAGE = str(Path(__file__).parents[1]) + os.sep
_CLEAR = '\r\x1b[2K'


class Terminal:
    """Shows log lines and a progress line on a stream without mixing them up.

    On a pipe or in a file there is no progress line; the same numbers come as log lines.

    Args:
      stream: where both go.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream
        self._line = ''
        self.interactive = stream.isatty()

    def write(self, text: str) -> None:
        """Writes whole lines above the progress line."""
        self._stream.write(_CLEAR + text + self._line if self._line else text)

    def flush(self) -> None:
        """Passes on what was written."""
        self._stream.flush()

    def close(self) -> None:
        """Does nothing: the stream belongs to the process."""

    def show_progress(self, line: str) -> None:
        """Replaces the progress line; an empty one takes it away."""
        if self.interactive:
            self._line = line[: shutil.get_terminal_size().columns - 1]
            self._stream.write(_CLEAR + self._line)
            self._stream.flush()


def set_up_logging() -> Terminal:
    """Sends this project's log lines from INFO and everybody's from WARNING to standard error."""
    terminal = Terminal(sys.stderr)
    handler = absl_logging.get_absl_handler().python_handler
    handler.setStream(terminal)
    handler.setFormatter(logging.Formatter('%(asctime)s %(message)s', '%Y-%m-%d %H:%M:%S'))
    handler.filters.clear()
    handler.addFilter(_is_worth_reading)
    if absl_logging.get_verbosity() == absl_logging.WARNING:  # absl's default
        absl_logging.set_verbosity(absl_logging.INFO)
    return terminal


def _is_worth_reading(record: logging.LogRecord) -> bool:
    if f'{os.sep}orbax{os.sep}' in record.pathname.removeprefix(_PACKAGE):
        record.exc_info = record.exc_text = None  # what it logs with a traceback, it raises too
        return record.levelno >= logging.ERROR  # it warns of every step that it takes
    ours = record.pathname.startswith(_PACKAGE) or record.filename == 'logging_writer.py'
    return ours or record.levelno >= logging.WARNING


def format_duration(seconds: float) -> str:
    """Returns '2 d 3 h', '1 h 5 min', '2 min 10 s' or '9 s'; '?' for nan."""
    if math.isnan(seconds):
        return '?'
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, 'd'), (hours, 'h'), (minutes, 'min'), (seconds, 's')]
    while len(parts) > 1 and not parts[0][0]:
        parts.pop(0)
    return ' '.join(f'{number} {unit}' for number, unit in parts[:2])
