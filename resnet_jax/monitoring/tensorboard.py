"""What CLU's writer lacks: going back in TensorBoard's record of a run, and errors in words."""

import contextlib
from collections.abc import Iterator, Mapping

from clu import metric_writers
from tensorboard.compat.proto import event_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from resnet_jax.types import RunFailed


def write_scalars(
    writer: metric_writers.MetricWriter, step: int, scalars: Mapping[str, float]
) -> None:
    """Writes scalars of a step; they are on the disk when it returns.

    Raises:
      RunFailed: when they cannot be written.
    """
    with _errors_in_words():
        writer.write_scalars(step, scalars)


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
