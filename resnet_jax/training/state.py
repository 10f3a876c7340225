"""What training changes: parameters, statistics, optimizer state, step."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from ml_collections import ConfigDict

from resnet_jax.models import initialization, resnet


class TrainState(struct.PyTreeNode):
    """The state between two steps; the checkpoint's format.

    Attributes:
      step: int32 scalar, steps done.
      params: float32 arrays by name, `{'stem': {'conv': {'kernel': ...}}, ...}`.
      batch_stats: float32 running statistics of batch norm, by name.
      opt_state: optax's.
      ema_params: the average of the parameters, where `config.ema_decay` asks for one.
      ema_batch_stats: the average of the statistics, likewise: those of the current weights do not
        fit the averaged ones.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    ema_params: Any = None
    ema_batch_stats: Any = None

    def evaluation_variables(self) -> dict[str, Any]:
        """Returns the averaged weights and statistics where there are some, else the current."""
        if self.ema_params is None:
            return {'params': self.params, 'batch_stats': self.batch_stats}
        return {'params': self.ema_params, 'batch_stats': self.ema_batch_stats}


def create_state(
    config: ConfigDict, variables: dict[str, Any], optimizer: optax.GradientTransformation
) -> TrainState:
    """Returns the state at step 0 with the given `{'params': ..., 'batch_stats': ...}`."""
    params, batch_stats = variables['params'], variables['batch_stats']
    averages = {}
    if config.ema_decay:
        averages = {
            'ema_params': jax.tree.map(jnp.array, params),
            'ema_batch_stats': jax.tree.map(jnp.array, batch_stats),
        }
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=batch_stats,
        opt_state=optimizer.init(params),
        **averages,
    )


def abstract_state(
    config: ConfigDict, model: resnet.ResNet, optimizer: optax.GradientTransformation
) -> TrainState:
    """Returns the shapes and dtypes of the state in a checkpoint, without arrays."""
    variables = initialization.abstract_variables(model, config.data.image_size)
    return jax.eval_shape(lambda variables: create_state(config, variables, optimizer), variables)
