"""Terminal output: log lines with a progress line below them, logging set-up, durations."""

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
    """Writes log lines and a progress line to a stream without mixing them up.

    A pipe or a file gets no progress line; callers write the same numbers as log lines.

    Args:
      stream: stream for both, usually standard error.

    Attributes:
      interactive: whether the stream is a terminal, which shows a progress line.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream
        self._line = ''
        self.interactive = stream.isatty()

    def write(self, text: str) -> None:
        """Writes whole lines above the progress line."""
        self._stream.write(_CLEAR + text + self._line if self._line else text)

    def flush(self) -> None:
        """Flushes the stream."""
        self._stream.flush()

    def close(self) -> None:
        """Does nothing, because the stream belongs to the process."""

    def show_progress(self, line: str) -> None:
        """Replaces the progress line; an empty line removes it."""
        if self.interactive:
            self._line = line[: shutil.get_terminal_size().columns - 1]
            self._stream.write(_CLEAR + self._line)
            self._stream.flush()


def set_up_logging() -> Terminal:
    """Sends this project's log lines (INFO and above) and others' warnings to standard error.

    Two kinds of warnings are left out: that libraries use something deprecated, and that matplotlib
    lists the fonts of the machine.
    """
    terminal = Terminal(sys.stderr)
    absl_logging.use_absl_handler()  # absl.app has already done this, but a notebook has not
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
        record.exc_info = record.exc_text = None  # Orbax also raises the errors that it logs
        return record.levelno >= logging.ERROR  # Orbax logs each of its steps as a warning
    if record.pathname.startswith(_PACKAGE) or record.filename == 'logging_writer.py':
        return True
    if record.name == 'matplotlib.font_manager' or 'deprecated' in record.getMessage().lower():
        return record.levelno >= logging.ERROR  # a user cannot change what these warn of
    return record.levelno >= logging.WARNING


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
