"""Training state: parameters, statistics, optimizer state and step."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from ml_collections import ConfigDict

from resnet_jax.models import initialization, resnet


class TrainState(struct.PyTreeNode):
    """State of a run between two steps. Its fields are the format of a checkpoint.

    Attributes:
      step: number of completed steps, int32 scalar.
      params: parameters by name, float32 arrays, `{'stem': {'conv': {'kernel': ...}}, ...}`.
      batch_stats: running statistics of batch norm by name, float32 arrays.
      opt_state: state of the optax optimizer.
      ema_params: moving average of the parameters, or None if `config.ema_decay` is 0.
      ema_batch_stats: moving average of the statistics, or None likewise. The averaged parameters
        need it, because the current statistics do not fit them.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    ema_params: Any = None
    ema_batch_stats: Any = None

    def evaluation_variables(self) -> dict[str, Any]:
        """Returns the averaged parameters and statistics if there are any, else the current."""
        if self.ema_params is None:
            return {'params': self.params, 'batch_stats': self.batch_stats}
        return {'params': self.ema_params, 'batch_stats': self.ema_batch_stats}


def create_state(
    config: ConfigDict, variables: dict[str, Any], optimizer: optax.GradientTransformation
) -> TrainState:
    """Returns the state at step 0.

    Args:
      config: complete config, of which `ema_decay` is read.
      variables: `{'params': ..., 'batch_stats': ...}` of float32.
      optimizer: optimizer whose state is created.
    """
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
    """Returns the state in a checkpoint with shapes and dtypes in place of arrays."""
    variables = initialization.abstract_variables(model, config.data.image_size)
    return jax.eval_shape(lambda variables: create_state(config, variables, optimizer), variables)
