"""Writing checkpoints in the background, and deleting old ones."""

import dataclasses
import functools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from resnet_jax.checkpoints.format import (
    REPLACED,
    Metadata,
    compute_checksums,
    compute_metadata_checksum,
)
from resnet_jax.checkpoints.reading import list_steps
from resnet_jax.config.leading_metric import rank
from resnet_jax.devices import processes
from resnet_jax.errors import RunFailed


class CheckpointWriter:
    """Writes the checkpoints of a run in the background, and deletes old ones.

    Args:
      folder: folder `checkpoints/` of the run. All its checkpoints must be whole, which
        `restore_newest` ensures.
      keep: number of latest checkpoints to keep, in addition to the best one; 0 keeps all.
      leading: accuracy that chooses the best one, as in `rank`.
    """

    def __init__(self, folder: Path, *, keep: int, leading: str):
        rank_of = functools.partial(rank, leading=leading)
        policies = [preservation_policy.LatestN(keep or None)]
        if keep:
            best = preservation_policy.BestN(
                get_metric_fn=rank_of, n=1, keep_checkpoints_without_metrics=False
            )
            policies.append(best)
        self._folder = folder
        self._manager = ocp.CheckpointManager(
            folder.absolute(),
            options=ocp.CheckpointManagerOptions(
                step_name_format=_StepNames(),
                best_fn=rank_of,  # makes Orbax store metrics; the policies decide which to keep
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
            if not isinstance(error, RunFailed):  # a RunFailed already says why the run ends
                raise self._failure(failure) from failure

    def save(self, state: Any, metadata: Metadata) -> None:
        """Starts to write a checkpoint; returns once the arrays are copied from the devices.

        Args:
          state: state of the run, replicated over all processes.
          metadata: metadata of the same step.

        Raises:
          RunFailed: if this checkpoint or the previous one cannot be written.
          RuntimeError: if the step is not after the latest saved step.
        """
        step, scores = metadata.step, metadata.scores
        latest = self._manager.latest_step()
        if latest is not None and step <= latest:
            raise RuntimeError(f'{self._folder}: expected a step after {latest}, found {step}')
        checksums = compute_checksums(state)
        content = dataclasses.asdict(metadata) | {
            'checksums': checksums,
            'checksum': compute_metadata_checksum(metadata, checksums),
        }
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
        """Writes a checkpoint again whose step was saved before it was evaluated.

        The old checkpoint is kept under another name until the new one is on the disk. If the
        process ends before that, `restore_newest` restores the old one.

        Raises:
          RunFailed: if the new checkpoint cannot be written.
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
        """Waits until all saved checkpoints are on the disk.

        Raises:
          RunFailed: if a checkpoint cannot be written.
        """
        try:
            self._manager.wait_until_finished()
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> RunFailed:
        return RunFailed(
            f'{self._folder}: a checkpoint cannot be written: {error}. Every older checkpoint is '
            'intact; free some space or repair the disk, and run the same command again'
        )


class _StepNames(ocp.path.step.NameFormat[ocp.path.step.Metadata]):
    """Orbax's names of steps; it sees those of `list_steps` alone.

    By default, Orbax takes any number of digits for a step, even more than an integer can have.
    """

    def build_name(self, step: int) -> str:
        return str(step)

    def find_step(self, base_path: Any, step: int) -> ocp.path.step.Metadata:
        path = ocp.path.step.build_step_path(base_path, self, step)
        if not path.exists():
            raise ValueError(f'{path}: expected a checkpoint, found none')
        return ocp.path.step.Metadata(step=step, path=path)

    def find_all(self, base_path: Any) -> Iterator[ocp.path.step.Metadata]:
        for step in list_steps(Path(base_path)):
            path = ocp.path.step.build_step_path(base_path, self, step)
            yield ocp.path.step.Metadata(step=step, path=path)


def _state_handler() -> ocp.PyTreeCheckpointHandler:
    """Returns Orbax's handler of trees, set to write only the first device's copy of each array.

    By default, Orbax writes a slice of each replica and compiles a program for every shape to cut
    the slices. This took seconds before the first save of a small network, and has no advantage on
    one machine.
    """
    handlers = ocp.type_handlers
    return ocp.PyTreeCheckpointHandler(
        type_handler_registry=handlers.create_type_handler_registry(
            (jax.Array, handlers.ArrayHandler(use_replica_parallel=False))
        )
    )
