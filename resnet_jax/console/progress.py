"""Progress of a job over many images: a progress line or log lines."""

import time

from absl import logging

from resnet_jax.console.terminal import Terminal, format_duration
from resnet_jax.console.wording import format_bytes

SECONDS_BETWEEN_LINES = {True: 0.2, False: 30.0}
"""Seconds between two updates: on a terminal (True) and in a log (False)."""


class Progress:
    """Shows how much of a job is done, at which speed, and how long the rest takes.

    Args:
      screen: terminal that shows the progress line; without it, the log shows the same numbers.
      num_images: number of images of the whole job.
      num_done: number of images that an earlier process has done.
      num_bytes: number of bytes that the earlier process has written; None for a job that writes
        nothing.
    """

    def __init__(
        self,
        screen: Terminal,
        num_images: int,
        *,
        num_done: int = 0,
        num_bytes: int | None = None,
    ):
        self._screen = screen
        self._num_images = num_images
        self._first = self._done = num_done
        self._num_bytes = num_bytes
        self._start = self._shown = time.perf_counter()
        if num_done:
            logging.info('%d of %d images are already written; continuing', num_done, num_images)

    def add(self, num_bytes: int = 0, *, num_images: int = 1) -> None:
        """Counts images that are done and the bytes that were written for them."""
        self._done += num_images
        if self._num_bytes is not None:
            self._num_bytes += num_bytes
        now = time.perf_counter()
        if now - self._shown < SECONDS_BETWEEN_LINES[self._screen.interactive]:
            return
        self._shown = now
        line = self._describe(now - self._start)
        if self._screen.interactive:
            self._screen.show_progress(line)
        else:
            logging.info('%s', line)

    def _describe(self, seconds: float) -> str:
        """Returns the progress as a line of text, `seconds` after the start of this process."""
        fraction = min(self._done / self._num_images, 1.0)
        speed = (self._done - self._first) / seconds
        left = format_duration(max(self._num_images - self._done, 0) / speed)
        written = '' if self._num_bytes is None else f'   {format_bytes(self._num_bytes)}'
        return (
            f'{fraction:4.0%} [{"=" * int(30 * fraction):30}] {self._done:,} of '
            f'{self._num_images:,} images   {speed:,.0f} images/s{written}   {left} left'
        )
