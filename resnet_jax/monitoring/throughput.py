"""Training speed, and the time that devices wait for input."""

import math
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import jax

T = TypeVar('T')


class Counts(NamedTuple):
    """Totals since the start.

    Attributes:
      seconds: seconds for which the clock ran.
      seconds_waited: seconds of these in which the devices waited for input.
      steps: number of steps.
    """

    seconds: float = 0.0
    seconds_waited: float = 0.0
    steps: int = 0


class Throughput:
    """Clock of the training speed. Time in which it is paused, as in evaluation, does not count.

    It measures two rates: images per second, and the share of the time that the devices waited for
    input.

    Args:
      batch_size: number of images per step.
    """

    def __init__(self, batch_size: int):
        self._batch_size = batch_size
        self._resumed: float | None = None
        self._total = self._at_reset = self._at_lap = Counts()
        self._rates = math.nan, math.nan

    def resume(self) -> None:
        """Starts the clock. All earlier steps must be done."""
        self._resumed = time.perf_counter()

    def pause(self) -> None:
        """Pauses the clock. All earlier steps must be done."""
        if self._resumed is not None:
            self._add(seconds=time.perf_counter() - self._resumed)
            self._resumed = None

    def add_step(self, seconds_waited: float) -> None:
        """Counts a step and the seconds of waiting for its input, if the clock runs."""
        if self._resumed is not None:
            self._add(seconds_waited=seconds_waited, steps=1)

    def rates(self) -> tuple[float, float]:
        """Returns the rates between the last `reset` and the last `pause`.

        If no step was counted in between, returns the same rates as the last call; nan before the
        first step.
        """
        rates = self._rates_since(self._at_reset)
        if not math.isnan(rates[0]):
            self._rates = rates
        return self._rates

    def reset(self) -> None:
        """Starts the period that `rates` measures."""
        self._at_reset = self._total

    def end_lap(self) -> tuple[float, float]:
        """Returns the rates since the last call, regardless of `reset`; nan without a step."""
        lap, self._at_lap = self._rates_since(self._at_lap), self._total
        return lap

    def _add(self, seconds: float = 0.0, seconds_waited: float = 0.0, steps: int = 0) -> None:
        total = self._total
        self._total = Counts(
            total.seconds + seconds, total.seconds_waited + seconds_waited, total.steps + steps
        )

    def _rates_since(self, start: Counts) -> tuple[float, float]:
        seconds = self._total.seconds - start.seconds
        seconds_waited = self._total.seconds_waited - start.seconds_waited
        steps = self._total.steps - start.steps
        if not (steps and seconds):
            return math.nan, math.nan
        return steps * self._batch_size / seconds, min(seconds_waited / seconds, 1.0)


class InputWait:
    """Clock of the time in which the devices are idle because the next batch is missing.

    Waiting for a batch costs nothing while the devices still compute earlier steps. A separate
    thread measures when those end, because the main thread does not wait for them.
    """

    def __init__(self) -> None:
        self._watcher = ThreadPoolExecutor(1)
        self._step_end: Future[float] | None = None

    def watch(self, outputs: Any) -> None:
        """Sets the step whose end is measured.

        Args:
          outputs: outputs of the step that was dispatched last.
        """
        self._step_end = self._watcher.submit(_time_when_ready, outputs)

    def timed(self, batches: Iterable[T]) -> Iterator[tuple[T, float]]:
        """Yields each batch and the seconds that the devices waited for it."""
        iterator = iter(batches)
        while True:
            requested = time.perf_counter()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            yield batch, self._seconds_idle(requested, time.perf_counter())

    def _seconds_idle(self, requested: float, arrived: float) -> float:
        step_end = self._step_end
        if step_end is None or not step_end.done() or step_end.exception() is not None:
            return 0.0
        return max(arrived - max(requested, step_end.result()), 0.0)


def _time_when_ready(outputs: Any) -> float:
    jax.block_until_ready(outputs)
    return time.perf_counter()
