"""Checkpoints on disk: which exist, which are kept, and how a state comes back.

A checkpoint is Orbax's `<step>/` with the items `state` (one copy of a `TrainState`, whatever the
devices), `metadata` (JSON: `step`, `epoch`, sums of training metrics) and `metrics` (JSON: the
validation metrics, where that step was evaluated).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from jax.sharding import Sharding
from orbax.checkpoint.checkpoint_managers import preservation_policy

from resnet_jax.training.state import TrainState
from resnet_jax.types import InputError


def _rank(metrics: Mapping[str, float]) -> tuple[float, float, int]:
    """Orders checkpoints: by validation top-5, then top-1, then the later step."""
    return metrics['top5'], metrics['top1'], metrics['step']


def _one_copy() -> Any:
    """Returns Orbax's handling of arrays, changed to write the first device's copy of each.

    By default Orbax writes a slice of each replica, and compiles a program for every shape to cut
    it out: seconds before the first save of a small network, for nothing on one machine.
    """
    handlers = ocp.type_handlers
    return handlers.create_type_handler_registry(
        (jax.Array, handlers.ArrayHandler(use_replica_parallel=False))
    )


class Checkpoints:
    """The checkpoints of a run.

    Args:
      folder: the run's `checkpoints/`.
      keep: how many of the latest to keep beside the best; 0 keeps all.
      read_only: never write or delete anything.
    """

    def __init__(self, folder: Path, *, keep: int = 0, read_only: bool = False):
        policies = [preservation_policy.LatestN(keep or None)]
        if keep:
            best = preservation_policy.BestN(
                get_metric_fn=_rank, n=1, keep_checkpoints_without_metrics=False
            )
            policies.append(best)
        self.folder = folder
        self._manager = ocp.CheckpointManager(
            folder.absolute(),
            options=ocp.CheckpointManagerOptions(
                create=not read_only,
                read_only=read_only,
                best_fn=_rank,  # makes Orbax store metrics; the policies decide what is kept
                preservation_policy=preservation_policy.AnyPreservationPolicy(policies),
            ),
            item_handlers={
                'state': ocp.PyTreeCheckpointHandler(type_handler_registry=_one_copy()),
                'metadata': ocp.JsonCheckpointHandler(),
            },
        )

    def __enter__(self) -> 'Checkpoints':
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()

    def steps(self) -> list[int]:
        """Returns the steps that there are, rising."""
        return sorted(self._manager.all_steps())

    def latest(self) -> int | None:
        """Returns the latest step, or None."""
        return self._manager.latest_step()

    def save(
        self,
        state: TrainState,
        metadata: Mapping[str, Any],
        metrics: Mapping[str, float] | None,
    ) -> None:
        """Begins to write a checkpoint, in the background once the arrays are copied.

        Args:
          state: replicated.
          metadata: at least `step` and `epoch`.
          metrics: `top5` and `top1` of the validation split at this step, if it was evaluated.

        Raises:
          RuntimeError: when Orbax declines to save, which it does for a step that is not newer
            than the latest.
        """
        step = metadata['step']
        saved = self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.PyTreeSave(state), metadata=ocp.args.JsonSave(dict(metadata))
            ),
            metrics=None if metrics is None else dict(metrics) | {'step': step},
            force=True,
        )
        if not saved:
            raise RuntimeError(
                f'{self.folder}: Orbax did not save step {step}; the latest is {self.latest()}'
            )

    def wait(self) -> None:
        """Returns when all that was saved is on the disk."""
        self._manager.wait_until_finished()

    def read_metadata(self, step: int) -> dict[str, Any]:
        """Returns the metadata that was saved with a step."""
        args = ocp.args.Composite(metadata=ocp.args.JsonRestore())
        return self._manager.restore(step, args=args)['metadata']

    def restore(self, step: int, abstract_state: TrainState, sharding: Sharding) -> TrainState:
        """Reads the state of a step onto devices.

        Args:
          step: one of `steps()`.
          abstract_state: shapes and dtypes, which must be the checkpoint's.
          sharding: where every array goes, on any number of devices.

        Raises:
          InputError: lists the arrays that differ.
        """
        found = self._manager.item_metadata(step)['state'].tree
        require_same_arrays(abstract_state, found, what=f'{self.folder / str(step)}')
        targets = jax.tree.map(
            lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding),
            abstract_state,
        )
        restore_args = ocp.checkpoint_utils.construct_restore_args(targets)
        args = ocp.args.Composite(state=ocp.args.PyTreeRestore(targets, restore_args=restore_args))
        return self._manager.restore(step, args=args)['state']

    def resolve(self, which: str | int) -> int:
        """Turns 'best', 'latest', a step, or 'epoch:N' into a step.

        Raises:
          InputError: when there is no such checkpoint; lists those that there are.
        """
        step = self._find(str(which))
        if step is None or step not in self.steps():
            raise InputError(
                f'checkpoint {which!r} in {self.folder}: expected best, latest, epoch:N or one of '
                f'the steps {self._describe()}'
            )
        return step

    def _find(self, which: str) -> int | None:
        if which == 'latest':
            return self.latest()
        if which == 'best':
            best = self._manager.best_step()
            return self.latest() if best is None else best
        if which.isdecimal():
            return int(which)
        kind, _, epoch = which.partition(':')
        if kind == 'epoch' and epoch.isdecimal():
            steps = {self.read_metadata(step)['epoch']: step for step in self.steps()}
            return steps.get(int(epoch))
        return None

    def _describe(self) -> str:
        steps = [f'{step} (epoch {self.read_metadata(step)["epoch"]:g})' for step in self.steps()]
        return ', '.join(steps) or '(there are none)'


def require_same_arrays(expected: Any, found: Any, *, what: str) -> None:
    """Compares two trees by the names and shapes of their arrays.

    Args:
      expected: what the config describes.
      found: what was stored, or Orbax's description of it.
      what: where that is, for the message.

    Raises:
      InputError: lists the arrays that differ.
    """
    expected, found = _shapes(expected), _shapes(found)
    different = [
        f'  {name}: expected {expected.get(name, "nothing")}, found {found.get(name, "nothing")}'
        for name in sorted(expected.keys() | found.keys())
        if expected.get(name) != found.get(name)
    ]
    if different:
        raise InputError(
            f'{what}: expected the arrays of the model and optimizer in the config, found others:\n'
            + '\n'.join(different)
        )


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """Returns shapes by name, alike for a state and for Orbax's description of one."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator='/'): tuple(leaf.shape)
        for path, leaf in leaves
        if hasattr(leaf, 'shape')
    }
