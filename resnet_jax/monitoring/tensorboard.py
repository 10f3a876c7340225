"""What CLU's writer lacks: going back in TensorBoard's record of a run."""

from tensorboard.compat.proto import event_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter


def forget_steps_behind(folder: str, step: int) -> None:
    """Makes TensorBoard forget what it read of later steps, because they are done again.

    TensorBoard drops earlier events from the step of a session's start on.
    """
    writer = EventFileWriter(folder)
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    writer.add_event(event_pb2.Event(step=step + 1, session_log=start))
    writer.close()
