"""Metrics logger: from training steps to the log, the progress line, TensorBoard and the files."""

import collections
import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
from absl import logging

from resnet_jax.console.terminal import Terminal, format_duration
from resnet_jax.errors import RunFailed
from resnet_jax.evaluation import confusion_files, metrics
from resnet_jax.monitoring.machine_log import MachineLog
from resnet_jax.monitoring.tensorboard import EventWriter
from resnet_jax.monitoring.throughput import Throughput
from resnet_jax.storage.workdir import Workdir

STEPS_AHEAD = 2
"""Number of steps that the host may dispatch before it waits for the devices.

It limits the number of batches in the memory of the devices.
"""

NOTABLE_WAIT = 0.1
"""Fraction of the time that the devices may wait for input before the log mentions it."""

SMALL_IMAGE = 64
"""Side in px up to which images are small: storing them smaller does not make the input faster."""

TITLES = {'top1': 'top-1', 'top5': 'top-5'}


class MetricsLogger:
    """Collects the metrics of a run's steps and writes them, without making the devices wait.

    Rows of `metrics.csv` and confusion counts after `start_step` are deleted, because those steps
    are trained again.

    Args:
      workdir: folder of the run.
      screen: terminal that shows the progress line; without it, the log shows the same numbers.
      writes_files: whether this process writes the files of the run.
      machine_log: log of the machine's counters, or None in a process that writes no files.
      sums: sums of the training metrics from the last row of `metrics.csv` to `start_step`.
      start_step: number of steps completed in earlier sessions.
      last_step: number of steps of the whole run.
      steps_per_epoch: number of steps in an epoch.
      batch_size: number of images in a step.
      image_size: side of the images that the network gets, in px.
      leading: accuracy in the progress line, 'top1' or 'top5'.
    """

    def __init__(
        self,
        workdir: Workdir,
        screen: Terminal,
        *,
        writes_files: bool,
        machine_log: MachineLog | None,
        sums: Mapping[str, tuple[float, float]],
        start_step: int,
        last_step: int,
        steps_per_epoch: int,
        batch_size: int,
        image_size: int,
        leading: str,
    ):
        self._workdir = workdir
        self._events = EventWriter(workdir.tensorboard, start_step) if writes_files else None
        self._screen = screen
        self._writes_files = writes_files
        self._machine_log = machine_log
        self._last_step = last_step
        self._steps_per_epoch = steps_per_epoch
        self._batch_size = batch_size
        self._image_size = image_size
        self._leading = leading
        self._pending: collections.deque[tuple[int, metrics.TrainMetrics]] = collections.deque()
        self._sums_since_log: metrics.Sums = {}
        self._sums_since_row: metrics.Sums = dict(sums)
        self._throughput = Throughput(batch_size)
        self._has_warned_of_slow_input = False
        self._rows: list[dict[str, Any]] = [
            row for row in workdir.read_metrics() if int(row['step']) <= start_step
        ]
        if writes_files and start_step:
            workdir.write_metrics(self._rows)
            workdir.forget_confusion_after(start_step)

    def add(self, step: int, step_metrics: metrics.TrainMetrics, seconds_waited: float) -> None:
        """Takes the metrics of a step; waits only if the devices lag by more than `STEPS_AHEAD`.

        Args:
          step: number of completed steps, this one included.
          step_metrics: metrics of the step, on the devices.
          seconds_waited: time in seconds for which the devices waited for the batch of the step.

        Raises:
          RunFailed: if the loss of an earlier step is not finite.
        """
        self._pending.append((step, step_metrics))
        self._throughput.add_step(seconds_waited)
        self._fetch(all_but=STEPS_AHEAD)

    def _fetch(self, *, all_but: int) -> None:
        while len(self._pending) > all_but:
            step, step_metrics = self._pending.popleft()
            step_metrics = jax.device_get(step_metrics)
            if not math.isfinite(step_metrics.loss.total):
                raise RunFailed(
                    f'step {step}: expected a finite loss, found {step_metrics.loss.total}. The '
                    'last checkpoint is older and intact; lower the learning rate, clip the '
                    'gradient or warm up longer, in another --workdir'
                )
            self._sums_since_row = metrics.add_sums(self._sums_since_row, step_metrics)
            self._sums_since_log = metrics.add_sums(self._sums_since_log, step_metrics)

    def log(self, step: int, learning_rate: float) -> None:
        """Writes means since the last call to TensorBoard, and to the log or the progress line."""
        self._fetch(all_but=0)
        self._throughput.pause()  # counts the time up to this step
        self._throughput.resume()
        speed, input_wait = self._throughput.rates()
        seconds_left = (self._last_step - step) * self._batch_size / speed
        means = metrics.compute_means(self._sums_since_log)
        self._sums_since_log = {}
        epoch = step / self._steps_per_epoch
        train = {'epoch': epoch, **means, 'learning_rate': learning_rate}
        self._write_events(step, {f'train/{name}': value for name, value in train.items()})
        self._log_machine(step)
        if self._screen.interactive:
            self._screen.show_progress(
                f'epoch {epoch:.1f} of {self._last_step / self._steps_per_epoch:g}'
                f'   loss {_format(means["loss"], ".4f")}'
                f'   {TITLES[self._leading]} {_format(means[self._leading], ".2%")}'
                f'   {_format(speed, ",.0f")} images/s   {format_duration(seconds_left)} left'
                + (f'   {input_wait:.0%} waiting for input' if input_wait > NOTABLE_WAIT else '')
            )
        else:
            _log_numbers(
                step,
                {
                    'epoch': epoch,
                    **{f'train_{name}': mean for name, mean in means.items()},
                    'learning_rate': learning_rate,
                    'images_per_second': round(speed, 1),
                    'input_wait_fraction': round(input_wait, 4),
                },
                '' if math.isnan(speed) else f', time_left={format_duration(seconds_left)}',
            )
        if input_wait > NOTABLE_WAIT:
            self._warn_of_slow_input(input_wait)

    def _warn_of_slow_input(self, input_wait: float) -> None:
        """Warns in the log, once in a session."""
        if self._has_warned_of_slow_input:
            return
        self._has_warned_of_slow_input = True
        smaller = 'Store smaller images (python -m resnet_jax.prepare), or give'
        logging.warning(
            'the input is the bottleneck: the devices waited for it %.0f%% of the time. %s the '
            'process more cores; see docs/performance.md',
            100 * input_wait,
            smaller if self._image_size > SMALL_IMAGE else 'Give',
        )

    def _log_machine(self, step: int) -> None:
        """Writes the machine's counters and the training speed since the last call."""
        if self._machine_log:
            speed, input_wait = self._throughput.end_lap()
            rates = {
                'images_per_second': round(speed, 1),
                'input_wait_fraction': round(input_wait, 4),
            }
            counters = self._machine_log.add_row(step, rates)
            self._write_events(step, {f'machine/{name}': counters[name] for name in counters})

    def _write_events(self, step: int, scalars: Mapping[str, float]) -> None:
        if self._events:
            self._events.write_scalars(step, scalars)

    @property
    def sums(self) -> metrics.Sums:
        """Sums of the training metrics of all steps since the last row of `metrics.csv`."""
        self._fetch(all_but=0)
        return self._sums_since_row

    @contextlib.contextmanager
    def clock_stopped(self) -> Iterator[None]:
        """Excludes the time and the steps of the block from the training speed."""
        self._fetch(all_but=0)
        self._throughput.pause()
        yield
        self._fetch(all_but=0)
        self._throughput.resume()
        if self._machine_log:
            self._machine_log.start_clock()

    def add_row(self, step: int, learning_rate: float, result: metrics.EvaluationResult) -> None:
        """Writes an evaluation of the validation split to the files, TensorBoard and the log.

        Args:
          step: number of completed steps.
          learning_rate: learning rate of the last of them.
          result: result of the evaluation.
        """
        train = metrics.compute_means(self.sums)
        speed, input_wait = self._throughput.rates()
        validation = {'loss': result.loss, 'top1': result.top1, 'top5': result.top5}
        in_columns = {f'validation_{name}': value for name, value in validation.items()}
        row = {
            'step': step,
            'epoch': f'{step / self._steps_per_epoch:g}',
            'learning_rate': learning_rate,
            **{f'train_{name}': mean for name, mean in train.items()},
            **in_columns,
            'images_per_second': round(speed, 1),
            'input_wait_fraction': round(input_wait, 4),
        }
        cells = {name: '' if value != value else value for name, value in row.items()}  # no nan
        self._rows = [old for old in self._rows if int(old['step']) < step] + [cells]
        if self._writes_files:
            saved = confusion_files.SavedConfusion(
                step, step / self._steps_per_epoch, result.counts
            )
            confusion_files.save_confusion(self._workdir.confusion_file(step), saved)
            self._workdir.write_metrics(self._rows)
            self._workdir.forget_confusion_after(step)
        self._write_events(step, {f'validation/{name}': validation[name] for name in validation})
        self._sums_since_row = {}
        self._throughput.reset()
        if not self._screen.interactive:
            _log_numbers(step, in_columns)
            return
        logging.info(
            'epoch %s   training: %s   validation: %s',
            row['epoch'],
            _describe(train),
            _describe(validation),
        )


def _log_numbers(step: int, numbers: Mapping[str, float], rest: str = '') -> None:
    """Logs `[step] name=number, ...`, without nan, and the rest of the line."""
    measured = [f'{name}={value:.6g}' for name, value in numbers.items() if not math.isnan(value)]
    logging.info('[%d] %s%s', step, ', '.join(measured), rest)


def _describe(scores: Mapping[str, float]) -> str:
    """Returns loss and accuracies, as in 'loss 0.1234 top-1 98.00% top-5 99.90%'."""
    accuracies = [f'{TITLES[name]} {_format(scores[name], ".2%")}' for name in ('top1', 'top5')]
    return ' '.join([f'loss {_format(scores["loss"], ".4f")}', *accuracies])


def _format(value: float, specification: str) -> str:
    """Returns a number as text, '?' for nan."""
    return '?' if math.isnan(value) else format(value, specification)
