"""Import of a weight file: its config, class names and variables."""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from resnet_jax.config import checks, data_sets, schema
from resnet_jax.data.sources import registry
from resnet_jax.errors import InputError
from resnet_jax.models.variants import VARIANTS
from resnet_jax.weights import (
    keras,
    matching,
    mxnet,
    own_format,
    published,
    recognition,
    safetensors,
)
from resnet_jax.weights.recognition import Network
from resnet_jax.weights.timm import read_timm

FORMATS = ('mxnet', 'timm', 'keras', own_format.FORMAT)
"""Names of the formats that can be imported."""

READERS: dict[str, Callable[..., dict[str, np.ndarray]]] = {
    'mxnet': mxnet.read_params,
    'timm': read_timm,
    'keras': keras.read_keras,
}
"""Readers of the formats of other frameworks, from bytes to arrays by name."""


@dataclasses.dataclass(frozen=True)
class Imported:
    """A network with its weights, and everything else that a run needs.

    Attributes:
      config: config of the run.
      class_names: names of the classes in index order.
      variables: `{'params': ..., 'batch_stats': ...}` of float32.
      description: description of the network, for the log.
    """

    config: ConfigDict
    class_names: tuple[str, ...]
    variables: dict[str, Any]
    description: str


def load_weights(
    file_format: str, content: bytes, *, where: str, config: ConfigDict | None = None
) -> Imported:
    """Returns the network in a weight file.

    Args:
      file_format: name of the file's format, one of `FORMATS`.
      content: content of the file.
      where: name of the file, for messages.
      config: config to start from, or None for that of the data set on which the weights were
        trained. Its `model` must describe the network in the file; its preprocessing is replaced by
        that of the weights.

    Raises:
      InputError: if the format is unknown, or if the file is damaged, holds no known network or
        contradicts the config.
    """
    if file_format not in FORMATS:
        raise InputError(f'--format={file_format}: expected one of {", ".join(FORMATS)}')
    if file_format == own_format.FORMAT:
        return _load_own_format(content, where, config)
    arrays = READERS[file_format](content, where=where)
    arrays = recognition.clean_names(file_format, arrays, where=where)
    network = recognition.recognise(file_format, arrays, where=where)
    if config is not None:
        _require_same_network(config, matching.make_config(network), where)
    variables = matching.match(network, arrays, where=where)
    run_config = _make_config(network, variables, config)
    return Imported(
        config=run_config,
        class_names=_class_names(network, run_config if config is not None else None),
        variables=variables,
        description=matching.describe(network),
    )


def _load_own_format(content: bytes, where: str, config: ConfigDict | None) -> Imported:
    arrays, metadata = safetensors.read_safetensors(content, where=where)
    exported = own_format.decode(arrays, metadata, where=where)
    model = exported.config.model
    if config is not None:
        file_config = copy.deepcopy(exported.config)
        file_config.model.num_classes = model.num_classes or len(exported.class_names)
        _require_same_network(config, file_config, where)
    return Imported(
        config=exported.config,
        class_names=exported.class_names,
        variables=exported.variables,
        description=f'ResNet-{model.depth} v2 ({model.variant}), exported by this project',
    )


def _make_config(
    network: Network, variables: dict[str, Any], config: ConfigDict | None
) -> ConfigDict:
    """Returns the config of a run with the model and preprocessing of the weights."""
    if config is None:
        run_config = data_sets.use_data(schema.get_config(), published.data_set(network))
        run_config.model.dtype = 'float32'
    else:
        run_config = copy.deepcopy(config)
    before = schema.flatten(run_config)
    preprocessing = published.preprocessing(network, variables['batch_stats'])
    run_config.update_from_flattened_dict(network.model_fields() | preprocessing)
    checks.validate(run_config)
    for field, value in preprocessing.items():
        if config is not None and before[field] != value:
            logging.info('config.%s is now %r, the value for these weights', field, value)
    return run_config


def _require_same_network(config: ConfigDict, file_config: ConfigDict, where: str) -> None:
    """Compares the network of a config with that of a file.

    Args:
      config: config that the user gave; its number of classes and epsilon may be left open (0).
      file_config: config of the network in the file, with a number of classes.
      where: name of the file, for messages.

    Raises:
      InputError: if they differ; the message lists the fields.
    """
    fields = ('variant', 'depth', 'stem', 'width', 'num_classes', 'batch_norm_epsilon')
    differences = []
    for field in fields:
        given, in_file = config.model[field], file_config.model[field]
        if field == 'batch_norm_epsilon':
            in_file = in_file or VARIANTS[file_config.model.variant].batch_norm_epsilon
        left_open = field in ('num_classes', 'batch_norm_epsilon') and not given
        if given != in_file and not left_open:
            differences.append(f'  config.model.{field}: expected {given!r}, found {in_file!r}')
    if differences:
        raise InputError(
            f'--weights={where}: expected the network of the config, found another:\n'
            + '\n'.join(differences)
            + '\nChange these fields, or omit --config. To train on other classes, import the file '
            'unchanged, and set config.initial_weights of another run to the new folder.'
        )


def _class_names(network: Network, config: ConfigDict | None) -> tuple[str, ...]:
    """Returns the class names in the data of a given config, or else the published ones."""
    if config is not None:
        try:
            names = registry.load_source(config, config.data.validation_split).class_names
        except InputError as error:
            logging.info('the class names cannot be read from the data: %s', error)
        else:
            if len(names) == network.num_classes:
                return names
    names = published.names_of_classes(network)
    if names[0] == '0':
        logging.warning(
            'the %d classes have no names; write them into class_names.txt, one in each line',
            network.num_classes,
        )
    return names
