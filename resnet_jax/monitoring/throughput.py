"""How fast a run trains, and for how long its devices wait for their input."""

import math
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import jax

T = TypeVar('T')


class Counts(NamedTuple):
    """What has been counted: seconds while the clock ran, those without input, and steps."""

    seconds: float = 0.0
    seconds_waited: float = 0.0
    steps: int = 0


class Throughput:
    """Training speed; what happens while the clock stands (evaluation, compilation) does not count.

    Rates are images a second, and the share of the time for which the input was missing.

    Args:
      batch_size: images a step.
    """

    def __init__(self, batch_size: int):
        self._batch_size = batch_size
        self._resumed: float | None = None
        self._total = self._at_reset = self._at_lap = Counts()
        self._rates = math.nan, math.nan

    def resume(self) -> None:
        """Starts the clock, when all steps before are done."""
        self._resumed = time.perf_counter()

    def pause(self) -> None:
        """Stops the clock, when all steps before are done."""
        if self._resumed is not None:
            self._add(seconds=time.perf_counter() - self._resumed)
            self._resumed = None

    def add_step(self, seconds_waited: float) -> None:
        """Counts a step, and the time for which its input was missing, if the clock runs."""
        if self._resumed is not None:
            self._add(seconds_waited=seconds_waited, steps=1)

    def rates(self) -> tuple[float, float]:
        """Returns the rates from the last `reset` to the last `pause`.

        If no step was counted between them, those that were returned last; nan before any.
        """
        found = self._since(self._at_reset)
        if not math.isnan(found[0]):
            self._rates = found
        return self._rates

    def reset(self) -> None:
        """Starts new means for `rates`."""
        self._at_reset = self._total

    def end_lap(self) -> tuple[float, float]:
        """Returns the rates since the last call, whatever was reset; nan without a step."""
        lap, self._at_lap = self._since(self._at_lap), self._total
        return lap

    def _add(self, **counts: float) -> None:
        added = Counts(**counts)
        self._total = Counts(*(a + b for a, b in zip(self._total, added, strict=True)))

    def _since(self, before: Counts) -> tuple[float, float]:
        found = Counts(*(now - then for now, then in zip(self._total, before, strict=True)))
        if not (found.steps and found.seconds):
            return math.nan, math.nan
        speed = found.steps * self._batch_size / found.seconds
        return speed, min(found.seconds_waited / found.seconds, 1.0)


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
