"""The network of a run and its weights, from the run's folder."""

import dataclasses
from typing import Any

import jax
from jax.sharding import Sharding
from ml_collections import ConfigDict

from resnet_jax.models import resnet, stacking
from resnet_jax.training import checkpoints, optimizers, schedules
from resnet_jax.training.state import abstract_state
from resnet_jax.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A network with the weights of a checkpoint.

    Attributes:
      config: the run's.
      class_names: in index order.
      model: the network, for use outside of training.
      variables: `{'params': ..., 'batch_stats': ...}` for evaluation, averaged where the run
        averages; unstacked.
      step: of the checkpoint.
      sharding: of the arrays; None = the default device's.
    """

    config: ConfigDict
    class_names: tuple[str, ...]
    model: resnet.ResNet
    variables: dict[str, Any]
    step: int
    sharding: Sharding | None = None

    def model_variables(self) -> dict[str, Any]:
        """Returns the variables as the network takes them: stacked where it has loops."""
        stacked = stacking.stack_blocks(self.variables, self.model.num_scanned)
        return jax.device_put(stacked, self.sharding)


def load_trained_model(workdir: Workdir, checkpoint: str | int, sharding: Sharding) -> TrainedModel:
    """Reads the network of a run.

    Args:
      workdir: the run's.
      checkpoint: 'best', 'latest', a step, or 'epoch:N'.
      sharding: where the arrays go.

    Raises:
      InputError: when there is no such run or checkpoint.
    """
    config = workdir.read_config()
    class_names = workdir.read_class_names()
    model = resnet.create_model(config, len(class_names))
    optimizer = optimizers.make_optimizer(config, schedules.make_schedule(config, 1))
    folder = workdir.checkpoints
    step = checkpoints.resolve(folder, checkpoint)
    state, _ = checkpoints.restore(folder, step, abstract_state(config, model, optimizer), sharding)
    variables = state.evaluation_variables()
    return TrainedModel(config, class_names, model, variables, step, sharding)
