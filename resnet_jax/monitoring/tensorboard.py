"""TensorBoard event files of a run, with steps that can be replaced and clear errors.

Adds to CLU's writer what it lacks. Tags are in groups: `train/loss`, `validation/top1`,
`machine/host_cpu_percent`. (Up to version 0.1.0 they were `train_loss` and `validation_top1`.)
"""

import contextlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from clu import metric_writers
from tensorboard.compat.proto import event_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from resnet_jax.errors import RunFailed


class EventWriter:
    """Writer of the scalars of a session; its files are created when the first ones are written.

    It is synchronous: its data is on the disk when a call returns, and an error is raised in the
    call that causes it.

    Args:
      folder: path of the folder for the run's events.
      start_step: number of steps done before; TensorBoard forgets the events of later steps.
    """

    def __init__(self, folder: Path, start_step: int):
        self._folder = folder
        self._start_step = start_step
        self._writer: metric_writers.MetricWriter | None = None

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Writes scalars of a step, by tag; nan is left out.

        Raises:
          RunFailed: if they cannot be written.
        """
        measured = {tag: value for tag, value in scalars.items() if not math.isnan(value)}
        if not measured:
            return
        with _writing():
            if self._writer is None:
                _begin_session(self._folder, self._start_step)
                self._writer = metric_writers.SummaryWriter(str(self._folder))
            self._writer.write_scalars(step, measured)


def _begin_session(folder: Path, step: int) -> None:
    """Makes TensorBoard forget the events after a step, because those steps run again.

    TensorBoard reads a session's start event and drops all earlier events from that step on. Every
    session must begin with such an event, including the first one.
    """
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    writer = EventFileWriter(str(folder))
    writer.add_event(event_pb2.Event(step=step + 1, session_log=start))
    writer.close()


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    """Turns any exception into `RunFailed`: the block only writes, so the cause is the disk."""
    try:
        yield
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RunFailed(
            f'TensorBoard events cannot be written: {reason}. What was saved before is intact; '
            'free some space or repair the disk, and run the same command again'
        ) from error
