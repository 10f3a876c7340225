"""The weights of another run, from which a new one starts."""

from pathlib import Path

import jax
from absl import logging
from jax.sharding import SingleDeviceSharding
from ml_collections import ConfigDict

from resnet_jax.checkpoints import trained_network
from resnet_jax.checkpoints.format import require_same_arrays
from resnet_jax.errors import InputError
from resnet_jax.models import initialization, resnet
from resnet_jax.storage.workdir import Workdir


def read_initial_weights(config: ConfigDict, model: resnet.ResNet, device: jax.Device) -> dict:
    """Reads the parameters and statistics of another run's best checkpoint.

    Where the number of classes is another, the head begins anew.

    Raises:
      InputError: when that run's network is another.
    """
    other = trained_network.load_trained_network(
        Workdir(Path(config.initial_weights)),
        'best',
        SingleDeviceSharding(device),
    )
    _require_same_function(config, other.config)
    variables = other.variables
    if other.model.num_classes != model.num_classes:
        logging.info(
            'the head begins anew: %d classes here, %d in %s',
            model.num_classes,
            other.model.num_classes,
            config.initial_weights,
        )
        drawn = initialization.init_variables(
            model,
            config.data.image_size,
            seed=config.seed,
            kernel_init=config.model.kernel_init,
        )
        params = variables['params'] | {'head': drawn['params']['head']}
        variables = variables | {'params': params}
    expected = initialization.abstract_variables(model, config.data.image_size)
    require_same_arrays(expected, variables, what=config.initial_weights)
    logging.info('weights of step %d of %s', other.step, config.initial_weights)
    return variables


def _require_same_function(config: ConfigDict, other: ConfigDict) -> None:
    """Checks what the shapes of two networks' arrays do not tell.

    Raises:
      InputError: when the variants differ, which compute different functions of the same arrays.
    """
    if config.model.variant != other.model.variant:
        raise InputError(
            f'config.model.variant = {config.model.variant!r}: expected '
            f'{other.model.variant!r}, the variant of the weights in {config.initial_weights}'
        )
    for field in ('mean', 'std'):
        here, there = config.data[field], other.data[field]
        if here != there:
            logging.warning(
                'config.data.%s = %s; the weights in %s were trained with %s',
                *(field, here, config.initial_weights, there),
            )
