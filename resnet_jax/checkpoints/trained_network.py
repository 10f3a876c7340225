"""Trained networks, loaded from the checkpoints of a run without an optimizer."""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

import jax
from jax.sharding import Sharding
from ml_collections import ConfigDict

from resnet_jax.checkpoints import reading, selection
from resnet_jax.checkpoints.format import named_arrays, require_same_arrays
from resnet_jax.config.leading_metric import leading_metric
from resnet_jax.errors import InputError
from resnet_jax.models import initialization, resnet, stacking
from resnet_jax.storage.steps import parse_step
from resnet_jax.storage.workdir import Workdir

_MAX_TRIES = 10
"""Number of times that a checkpoint is resolved while a training replaces the checkpoints."""


@dataclasses.dataclass(frozen=True)
class TrainedNetwork:
    """A network with the weights of a checkpoint.

    Attributes:
      config: config of the run.
      class_names: names of the classes, in index order.
      model: the network, for use outside of training.
      variables: `{'params': ..., 'batch_stats': ...}` for evaluation, unstacked; the averaged
        arrays if the run averages its weights.
      step: step of the checkpoint.
      sharding: sharding of the arrays; None for the default device.
    """

    config: ConfigDict
    class_names: tuple[str, ...]
    model: resnet.ResNet
    variables: dict[str, Any]
    step: int
    sharding: Sharding | None = None

    def model_variables(self) -> dict[str, Any]:
        """Returns the variables on the devices, stacked if the network has loops."""
        stacked = stacking.stack_blocks(self.variables, self.model.num_scanned)
        return jax.device_put(stacked, self.sharding)


def load_trained_network(
    workdir: Workdir, checkpoint: str | int, sharding: Sharding
) -> TrainedNetwork:
    """Loads the network of a run. Reads neither the optimizer's arrays nor weights without use.

    A training beside this process can delete the checkpoint that a name selected before it is read;
    then the name is resolved again.

    Args:
      workdir: folder of the run.
      checkpoint: 'best', 'latest', a step, or 'epoch:N'.
      sharding: sharding of every array.

    Raises:
      InputError: if there is no such run or checkpoint, or if the checkpoint is damaged.
    """
    config = workdir.read_config()
    class_names = workdir.read_class_names()
    model = resnet.create_model(config, len(class_names))
    leading = leading_metric(config, len(class_names))
    expected = initialization.abstract_variables(model, config.data.image_size)
    for tries_left in reversed(range(_MAX_TRIES)):
        steps = reading.list_steps(workdir.checkpoints)
        try:
            step = selection.resolve(workdir.checkpoints, checkpoint, leading)
            variables = _read_variables(workdir, step, expected)
            break
        except InputError:
            is_name = parse_step(str(checkpoint)) is None
            if not (is_name and tries_left and reading.list_steps(workdir.checkpoints) != steps):
                raise
    variables = reading.place(variables, sharding)
    return TrainedNetwork(config, class_names, model, variables, step, sharding)


def _read_variables(workdir: Workdir, step: int, expected: Any) -> Any:
    """Reads the variables for evaluation of a checkpoint, as a tree like `expected`."""

    def choose(stored: Mapping[str, Any]) -> Collection[str]:
        return _choose_network(expected, stored, what=str(workdir.checkpoints / str(step)))

    arrays, _ = reading.read_arrays(workdir.checkpoints, step, choose)
    return jax.tree.unflatten(jax.tree.structure(expected), list(arrays.values()))


def _choose_network(expected: Any, stored: Mapping[str, Any], *, what: str) -> list[str]:
    """Checks that a checkpoint holds the arrays of a network and of its optimizer.

    The arrays of the optimizer, whose names are unknown here, must be scalars or have the shape of
    an array of the network.

    Returns:
      The names of the averaged arrays if there are any, else those of the network, in the order of
      `expected`.

    Raises:
      InputError: if it holds other arrays.
    """
    averages = {name: array for name, array in stored.items() if name.startswith('ema_')}
    weights = {
        name: array
        for name, array in stored.items()
        if name.startswith(('params/', 'batch_stats/'))
    }
    require_same_arrays(expected, weights, what=what)
    if averages:
        plain = {name.removeprefix('ema_'): array for name, array in averages.items()}
        require_same_arrays(expected, plain, what=f'{what}, averages')
    shapes = {(), *(tuple(array.shape) for array in weights.values())}
    for name in stored.keys() - weights.keys() - averages.keys():
        shape = tuple(stored[name].shape)
        if not (name == 'step' or name.startswith('opt_state/')) or shape not in shapes:
            raise InputError(
                f'{what}: expected the state of a training run, found {name} of shape {shape}'
            )
    prefix = 'ema_' if averages else ''
    return [prefix + name for name in named_arrays(expected)]
