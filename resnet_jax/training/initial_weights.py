"""Initial weights of a run, taken from the best checkpoint of another run."""

import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging
from jax.sharding import SingleDeviceSharding
from ml_collections import ConfigDict

from resnet_jax.checkpoints import trained_network
from resnet_jax.checkpoints.format import require_same_arrays
from resnet_jax.errors import InputError
from resnet_jax.models import initialization, resnet
from resnet_jax.storage.workdir import Workdir


def read_initial_weights(
    config: ConfigDict, model: resnet.ResNet, class_names: tuple[str, ...], device: jax.Device
) -> dict:
    """Reads the parameters and statistics of the best checkpoint of `config.initial_weights`.

    `config.initial_head` says what becomes of the head.

    Args:
      config: valid config.
      model: network that gets the weights.
      class_names: names of the classes in the data, in index order.
      device: device for the arrays.

    Returns:
      `{'params': ..., 'batch_stats': ...}` of float32.

    Raises:
      InputError: if the networks differ in anything but the head, or if the head is to be kept and
        does not fit.
    """
    pretrained = trained_network.load_trained_network(
        Workdir(Path(os.path.expanduser(config.initial_weights))),  # noqa: PTH111
        'best',
        SingleDeviceSharding(device),
    )
    _require_same_variant(config, pretrained.config)
    variables = pretrained.variables
    head = _choose_head(config, model, class_names, pretrained)
    variables = variables | {'params': variables['params'] | {'head': head}}
    expected = initialization.abstract_variables(model, config.data.image_size)
    require_same_arrays(expected, variables, what=config.initial_weights)
    logging.info(
        'starting from the weights of step %d of %s', pretrained.step, config.initial_weights
    )
    return variables


def _choose_head(
    config: ConfigDict,
    model: resnet.ResNet,
    class_names: tuple[str, ...],
    pretrained: trained_network.TrainedNetwork,
) -> dict[str, Any]:
    """Returns the parameters of the head: kept, reordered or re-initialised. The log says which.

    Logits without a class name (`config.model.num_classes`) keep their position, or are
    re-initialised if the trained head lacks them.

    Raises:
      InputError: if `config.initial_head` is 'keep' and the numbers of logits differ.
    """
    where = config.initial_weights
    trained_head = pretrained.variables['params']['head']
    if config.initial_head == 'keep':
        num_logits, num_trained = model.num_classes, pretrained.model.num_classes
        if num_logits != num_trained:
            raise InputError(
                f"config.initial_head = 'keep': expected as many classes as in {where}, that is "
                f"{num_trained}, found {num_logits}; set it to 'new' to re-initialise the head"
            )
        logging.info("the head is kept: config.initial_head is 'keep'")
        return trained_head
    initial = initialization.init_variables(
        model, config.data.image_size, seed=config.seed, kernel_init=config.model.kernel_init
    )
    initial_head = initial['params']['head']
    order = _match_names(class_names, pretrained.class_names)
    if config.initial_head == 'new' or order is None:
        reason = _explain_new_head(config, class_names, pretrained.class_names)
        logging.info('the head is re-initialised: %s', reason)
        return initial_head
    if class_names == pretrained.class_names:
        logging.info('the head is kept: %s has the same classes', where)
    else:
        logging.info('the head is reordered: %s has the same classes in another order', where)

    def take(initial_array: np.ndarray, trained_array: jax.Array) -> np.ndarray:
        size = min(initial_array.shape[-1], trained_array.shape[-1])
        array = np.array(initial_array)
        positions = [*order, *range(len(order), size)]
        array[..., :size] = np.asarray(trained_array)[..., positions]
        return array

    return jax.tree.map(take, dict(initial_head), dict(trained_head))


def _match_names(names: tuple[str, ...], trained: tuple[str, ...]) -> list[int] | None:
    """Returns the index of each name in `trained`; None unless both have the same names."""
    if names == trained:
        return list(range(len(names)))
    if sorted(names) != sorted(trained) or len(set(names)) < len(names):
        return None
    return [trained.index(name) for name in names]


def _explain_new_head(config: ConfigDict, names: tuple[str, ...], trained: tuple[str, ...]) -> str:
    where = config.initial_weights
    if config.initial_head == 'new':
        return "config.initial_head is 'new'"
    if len(names) != len(trained):
        return f'{len(names)} classes here, {len(trained)} in {where}'
    index = next(i for i, pair in enumerate(zip(names, trained, strict=True)) if len(set(pair)) > 1)
    return (
        f'the classes here are not those in {where}, such as {names[index]!r} and '
        f"{trained[index]!r} at index {index}; config.initial_head = 'keep' keeps it"
    )


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
