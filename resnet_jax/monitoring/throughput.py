"""How fast a run trains, and for how long its devices wait for their input."""

import math
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import jax

T = TypeVar('T')


class Throughput:
    """Training speed; what happens while the clock stands (evaluation, compilation) does not count.

    Args:
      batch_size: images a step.
    """

    def __init__(self, batch_size: int):
        self._batch_size = batch_size
        self._resumed: float | None = None
        self._rates = math.nan, math.nan
        self.reset()

    def resume(self) -> None:
        """Starts the clock, when all steps before are done."""
        self._resumed = time.perf_counter()

    def pause(self) -> None:
        """Stops the clock, when all steps before are done."""
        if self._resumed is not None:
            self._seconds += time.perf_counter() - self._resumed
            self._resumed = None

    def add_step(self, seconds_waited: float) -> None:
        """Counts a step, and the time for which its input was missing, if the clock runs."""
        if self._resumed is not None:
            self._steps += 1
            self._seconds_waited += seconds_waited

    def rates(self) -> tuple[float, float]:
        """Returns images a second and the share of time without input, up to the last `pause`.

        They are means since the last `reset`; if no step was counted since, the last ones known;
        nan before the first step that counts.
        """
        if self._steps and self._seconds:
            self._rates = (
                self._steps * self._batch_size / self._seconds,
                min(self._seconds_waited / self._seconds, 1.0),
            )
        return self._rates

    def reset(self) -> None:
        """Starts new means."""
        self._seconds, self._seconds_waited, self._steps = 0.0, 0.0, 0


class InputWait:
    """Measures for how long the devices have nothing to do because the next batch is missing.

    While they still compute the steps before, waiting for a batch costs nothing. When those end is
    noted by a thread, because nothing else here stops for it.
    """

    def __init__(self) -> None:
        self._watcher = ThreadPoolExecutor(1)
        self._step_end: Future[float] | None = None

    def watch(self, outputs: Any) -> None:
        """Takes what the step returns that was dispatched last."""
        self._step_end = self._watcher.submit(_time_when_ready, outputs)

    def timed(self, batches: Iterable[T]) -> Iterator[tuple[T, float]]:
        """Yields each batch and the seconds for which the devices had to wait for it."""
        iterator = iter(batches)
        while True:
            asked = time.perf_counter()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            arrived, step_end = time.perf_counter(), self._step_end
            idle = step_end is not None and step_end.done() and step_end.exception() is None
            yield batch, max(arrived - max(asked, step_end.result()), 0.0) if idle else 0.0


def _time_when_ready(outputs: Any) -> float:
    jax.block_until_ready(outputs)
    return time.perf_counter()
