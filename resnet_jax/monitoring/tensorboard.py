"""TensorBoard event files of a run, with steps that can be replaced and clear errors.

Adds to CLU's writers what they lack.
"""

import contextlib
from collections.abc import Iterator, Mapping

from clu import metric_writers
from tensorboard.compat.proto import event_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from resnet_jax.errors import RunFailed

MACHINE_PREFIX = 'machine/'
"""Prefix of the tags of the machine's counters."""


def create_writer(folder: str, step: int, *, with_log: bool) -> metric_writers.MetricWriter:
    """Returns CLU's writer to TensorBoard and, if requested, to the log.

    The writer is synchronous: its data is on the disk when a call returns, and an error is raised
    in the call that causes it.

    Args:
      folder: path of the folder for the run's events.
      step: number of steps done before; TensorBoard forgets the events of later steps.
      with_log: whether scalars are also written to the log.

    Raises:
      RunFailed: if the folder cannot be written.
    """
    begin_session(folder, step)
    log = [TrainingLog()] if with_log else []
    return metric_writers.MultiWriter([*log, metric_writers.SummaryWriter(folder)])


def write_scalars(
    writer: metric_writers.MetricWriter, step: int, scalars: Mapping[str, float]
) -> None:
    """Writes scalars of a step; they are on the disk when this function returns.

    Raises:
      RunFailed: if they cannot be written.
    """
    with _writing():
        writer.write_scalars(step, scalars)


class TrainingLog(metric_writers.LoggingWriter):
    """Log of a run's scalars, without the many scalars of the machine, which hide the others."""

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Logs a line, if any scalar remains."""
        shown = {
            name: value for name, value in scalars.items() if not name.startswith(MACHINE_PREFIX)
        }
        if shown:
            super().write_scalars(step, shown)


def begin_session(folder: str, step: int) -> None:
    """Makes TensorBoard forget the events after a step, because those steps run again.

    TensorBoard reads a session's start event and drops all earlier events from that step on. Every
    session must begin with such an event, including the first one.

    Args:
      folder: path of the folder for the run's events.
      step: number of steps done before.

    Raises:
      RunFailed: if the event cannot be written.
    """
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    with _writing():
        writer = EventFileWriter(folder)
        writer.add_event(event_pb2.Event(step=step + 1, session_log=start))
        writer.close()


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    """Turns any exception into `RunFailed`: the block only writes, so the cause is the disk."""
    try:
        yield
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise RunFailed(
            f'TensorBoard events cannot be written: {reason}. What was saved before is intact; '
            'free some space or repair the disk, and run the same command again'
        ) from error
