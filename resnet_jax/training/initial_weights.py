"""Initial weights of a run, taken from the best checkpoint of another run."""

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
    """Reads the parameters and statistics of the best checkpoint of `config.initial_weights`.

    If the numbers of classes differ, the head is re-initialised.

    Returns:
      `{'params': ..., 'batch_stats': ...}` of float32.

    Raises:
      InputError: if the networks differ in anything but the head.
    """
    pretrained = trained_network.load_trained_network(
        Workdir(Path(config.initial_weights)),
        'best',
        SingleDeviceSharding(device),
    )
    _require_same_variant(config, pretrained.config)
    variables = pretrained.variables
    if pretrained.model.num_classes != model.num_classes:
        logging.info(
            'the head is re-initialised: %d classes here, %d in %s',
            model.num_classes,
            pretrained.model.num_classes,
            config.initial_weights,
        )
        initial = initialization.init_variables(
            model,
            config.data.image_size,
            seed=config.seed,
            kernel_init=config.model.kernel_init,
        )
        params = variables['params'] | {'head': initial['params']['head']}
        variables = variables | {'params': params}
    expected = initialization.abstract_variables(model, config.data.image_size)
    require_same_arrays(expected, variables, what=config.initial_weights)
    logging.info(
        'starting from the weights of step %d of %s', pretrained.step, config.initial_weights
    )
    return variables


def _require_same_variant(config: ConfigDict, pretrained: ConfigDict) -> None:
    """Checks what the shapes of the arrays do not show: the variant and the normalisation.

    Another normalisation is allowed and logged.

    Raises:
      InputError: if the variants differ: they compute different functions of the same arrays.
    """
    if config.model.variant != pretrained.model.variant:
        raise InputError(
            f'config.model.variant = {config.model.variant!r}: expected '
            f'{pretrained.model.variant!r}, the variant of the weights in '
            f'{config.initial_weights}; change this field, or choose other weights'
        )
    for field in ('mean', 'std'):
        value, pretrained_value = config.data[field], pretrained.data[field]
        if value != pretrained_value:
            logging.warning(
                'config.data.%s = %s; the weights in %s were trained with %s',
                *(field, value, config.initial_weights, pretrained_value),
            )
