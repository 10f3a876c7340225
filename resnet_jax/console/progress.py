"""How far a job over many images is."""

import time

from absl import logging

from resnet_jax.console.terminal import Terminal, format_duration

SECONDS_BETWEEN_LINES = {True: 0.2, False: 30.0}
"""Of the progress line on a terminal, of the log elsewhere."""


class Progress:
    """Says how far a job is, at which speed, and how long it will take.

    Args:
      screen: where the progress line goes.
      num_images: of the whole job.
      num_done: by an earlier process.
      num_bytes: written by it.
    """

    def __init__(self, screen: Terminal, num_images: int, *, num_done: int, num_bytes: int):
        self._screen = screen
        self._num_images = num_images
        self._first = self._done = num_done
        self._num_bytes = num_bytes
        self._start = self._shown = time.perf_counter()
        if num_done:
            logging.info('%d of %d images are written; going on', num_done, num_images)

    def add(self, num_bytes: int) -> None:
        """Takes note of an image that is done and of the bytes that it became."""
        self._done += 1
        self._num_bytes += num_bytes
        now = time.perf_counter()
        if now - self._shown < SECONDS_BETWEEN_LINES[self._screen.interactive]:
            return
        self._shown = now
        speed = (self._done - self._first) / (now - self._start)
        fraction = self._done / self._num_images
        left = format_duration((self._num_images - self._done) / speed)
        line = (
            f'{fraction:4.0%} [{"=" * int(30 * fraction):30}] {self._done:,} of '
            f'{self._num_images:,} images   {speed:,.0f} images/s   '
            f'{self._num_bytes / 1e9:.2f} GB   {left} left'
        )
        if self._screen.interactive:
            self._screen.show_progress(line)
        else:
            logging.info('%s', line)
