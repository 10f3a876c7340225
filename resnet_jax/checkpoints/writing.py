"""Writing checkpoints in the background, and choosing which to keep."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from resnet_jax.checkpoints.format import REPLACED, Metadata, compute_checksum, rank
from resnet_jax.devices import processes
from resnet_jax.errors import RunFailed


class CheckpointWriter:
    """Writes the checkpoints of a run in the background, and deletes those that nobody wants.

    Args:
      folder: the run's `checkpoints/`; what it holds must be whole (`restore_newest`).
      keep: how many of the latest to keep beside the best; 0 keeps all.
    """

    def __init__(self, folder: Path, *, keep: int):
        policies = [preservation_policy.LatestN(keep or None)]
        if keep:
            best = preservation_policy.BestN(
                get_metric_fn=rank, n=1, keep_checkpoints_without_metrics=False
            )
            policies.append(best)
        self._folder = folder
        self._manager = ocp.CheckpointManager(
            folder.absolute(),
            options=ocp.CheckpointManagerOptions(
                best_fn=rank,  # makes Orbax store metrics; the policies decide what is kept
                preservation_policy=preservation_policy.AnyPreservationPolicy(policies),
            ),
            item_handlers={
                'state': _state_handler(),
                'metadata': ocp.JsonCheckpointHandler(),
            },
        )

    def __enter__(self) -> 'CheckpointWriter':
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        try:
            self._manager.close()
        except OSError as failure:
            if not isinstance(error, RunFailed):  # that one has said why the run ends
                raise self._failure(failure) from failure

    def save(self, state: Any, metadata: Metadata) -> None:
        """Begins to write a checkpoint; returns when the arrays are copied from the devices.

        Args:
          state: replicated over all processes.
          metadata: of the same step.

        Raises:
          RunFailed: when this one or the one before cannot be written.
          RuntimeError: when the step is not newer than the latest.
        """
        step, scores = metadata.step, metadata.scores
        latest = self._manager.latest_step()
        if latest is not None and step <= latest:
            raise RuntimeError(f'{self._folder}: expected a step behind {latest}, found {step}')
        content = dataclasses.asdict(metadata)
        content['checksum'] = compute_checksum(state, metadata)
        try:
            saved = self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.PyTreeSave(state), metadata=ocp.args.JsonSave(content)
                ),
                metrics=None if scores is None else dict(scores) | {'step': step},
                force=True,
            )
        except OSError as error:
            raise self._failure(error) from error
        if not saved:
            raise RuntimeError(f'{self._folder}: Orbax declined to save step {step}')

    def replace(self, state: Any, metadata: Metadata) -> None:
        """Writes a step again that was saved before it was evaluated.

        The old one is put aside until the new one is on the disk; `restore_newest` would put it
        back.
        """
        self.wait()
        aside = self._folder / f'{REPLACED}{metadata.step}'
        if processes.is_first_process():
            (self._folder / str(metadata.step)).rename(aside)
        processes.wait_for_all_processes()
        self._manager.reload()
        self.save(state, metadata)
        self.wait()
        if processes.is_first_process():
            shutil.rmtree(aside)

    def wait(self) -> None:
        """Returns when all that was saved is on the disk.

        Raises:
          RunFailed: when it cannot be written.
        """
        try:
            self._manager.wait_until_finished()
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> RunFailed:
        return RunFailed(
            f'{self._folder}: cannot write a checkpoint: {error}. Older checkpoints are as they '
            'were; make room or mend the disk, and start the same command again'
        )


def _state_handler() -> ocp.PyTreeCheckpointHandler:
    """Returns Orbax's handler of trees, changed to write the first device's copy of each array.

    By default Orbax writes a slice of each replica, and compiles a program for every shape to cut
    it out: seconds before the first save of a small network, for nothing on one machine.
    """
    handlers = ocp.type_handlers
    return ocp.PyTreeCheckpointHandler(
        type_handler_registry=handlers.create_type_handler_registry(
            (jax.Array, handlers.ArrayHandler(use_replica_parallel=False))
        )
    )
