"""What CLU's writers lack: going back in TensorBoard's record of a run, and errors in words."""

import contextlib
from collections.abc import Iterator, Mapping

from clu import metric_writers
from tensorboard.compat.proto import event_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from resnet_jax.errors import RunFailed

MACHINE_PREFIX = 'machine/'
"""Of the tags of the machine's counters."""


def create_writer(folder: str, step: int, *, with_log: bool) -> metric_writers.MetricWriter:
    """Returns CLU's writer to TensorBoard, and to the log where there is no progress line.

    It is not asynchronous: what it has written is on the disk, and its errors come where they
    belong.

    Args:
      folder: of the run's events.
      step: steps done before; what the folder holds of later ones is forgotten.
      with_log: write scalars to the log, too.

    Raises:
      RunFailed: when the folder cannot be written.
    """
    begin_session(folder, step)
    log = [TrainingLog()] if with_log else []
    return metric_writers.MultiWriter([*log, metric_writers.SummaryWriter(folder)])


def write_scalars(
    writer: metric_writers.MetricWriter, step: int, scalars: Mapping[str, float]
) -> None:
    """Writes scalars of a step; they are on the disk when it returns.

    Raises:
      RunFailed: when they cannot be written.
    """
    with _errors_in_words():
        writer.write_scalars(step, scalars)


class TrainingLog(metric_writers.LoggingWriter):
    """Logs a run's scalars, without those of the machine: they would hide the others."""

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Logs a line, if anything is left to log."""
        shown = {
            name: value for name, value in scalars.items() if not name.startswith(MACHINE_PREFIX)
        }
        if shown:
            super().write_scalars(step, shown)


def begin_session(folder: str, step: int) -> None:
    """Makes TensorBoard forget what it reads of steps behind this one, which are done again.

    It drops earlier sessions' events from the step of a session's start on; so every session must
    begin with one, the first too.

    Raises:
      RunFailed: when that cannot be written.
    """
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    with _errors_in_words():
        writer = EventFileWriter(folder)
        writer.add_event(event_pb2.Event(step=step + 1, session_log=start))
        writer.close()


@contextlib.contextmanager
def _errors_in_words() -> Iterator[None]:
    """Nothing but a write happens inside, so whatever it stumbles over is the disk."""
    try:
        yield
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise RunFailed(
            f'cannot write for TensorBoard: {reason}. What was saved before is whole; make room or '
            'mend the disk, and start the same command again'
        ) from error
