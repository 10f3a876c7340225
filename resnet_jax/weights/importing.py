"""From a file of weights to the folder of a run."""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from resnet_jax.config import checks, data_sets, schema
from resnet_jax.data.sources import loading
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


@dataclasses.dataclass(frozen=True)
class Imported:
    """A network with its weights, and all that its run needs.

    Attributes:
      config: of the run.
      class_names: in index order.
      variables: `{'params': ..., 'batch_stats': ...}` of float32.
      description: of the network, for the log.
    """

    config: ConfigDict
    class_names: tuple[str, ...]
    variables: dict[str, Any]
    description: str


def load_weights(
    file_format: str, content: bytes, *, where: str, config: ConfigDict | None = None
) -> Imported:
    """Reads the content of a file of weights; see `import_weights`."""
    if file_format not in FORMATS:
        raise InputError(f'--format={file_format}: expected one of {", ".join(FORMATS)}')
    if file_format == own_format.FORMAT:
        return _load_native(content, where, config)
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


READERS: dict[str, Callable[..., dict[str, np.ndarray]]] = {
    'mxnet': mxnet.read_params,
    'timm': read_timm,
    'keras': keras.read_keras,
}


def _load_native(content: bytes, where: str, config: ConfigDict | None) -> Imported:
    arrays, metadata = safetensors.read_safetensors(content, where=where)
    exported = own_format.decode(arrays, metadata, where=where)
    model = exported.config.model
    if config is not None:
        found = copy.deepcopy(exported.config)
        found.model.num_classes = model.num_classes or len(exported.class_names)
        _require_same_network(config, found, where)
    return Imported(
        config=exported.config,
        class_names=exported.class_names,
        variables=exported.variables,
        description=f'ResNet-{model.depth} v2 ({model.variant}), exported by this project',
    )


def _make_config(
    network: Network, variables: dict[str, Any], config: ConfigDict | None
) -> ConfigDict:
    """Returns a run's config with the model and preprocessing of the weights."""
    if config is None:
        made = data_sets.use_data(schema.get_config(), published.data_set(network))
        made.model.dtype = 'float32'
    else:
        made = copy.deepcopy(config)
    before = schema.flatten(made)
    preprocessing = published.preprocessing(network, variables['batch_stats'])
    made.update_from_flattened_dict(network.model_fields() | preprocessing)
    checks.validate(made)
    for field, value in preprocessing.items():
        if config is not None and before[field] != value:
            logging.info('config.%s is now %r, as for these weights', field, value)
    return made


def _require_same_network(config: ConfigDict, found: ConfigDict, where: str) -> None:
    """Compares a config's network with that of a file, whose every field is set.

    Raises:
      InputError: when they differ; lists the fields that do.
    """
    fields = ('variant', 'depth', 'stem', 'width', 'num_classes', 'batch_norm_epsilon')
    different = []
    for field in fields:
        given, in_file = config.model[field], found.model[field]
        if field == 'batch_norm_epsilon':
            in_file = in_file or VARIANTS[found.model.variant].batch_norm_epsilon
        left_open = field in ('num_classes', 'batch_norm_epsilon') and not given
        if given != in_file and not left_open:
            different.append(f'  config.model.{field} = {given!r}, in the file {in_file!r}')
    if different:
        raise InputError(
            f"--weights={where}: expected the config's network, found another:\n"
            + '\n'.join(different)
            + '\nChange these fields, or leave --config away. To train on other classes, import '
            'the file as it is, and name the new folder as config.initial_weights of another run'
        )


def _class_names(network: Network, config: ConfigDict | None) -> tuple[str, ...]:
    """Returns the names in the data of a config that was given, or else the published ones."""
    if config is not None:
        try:
            names = loading.load_source(config, config.data.validation_split).class_names
        except InputError as error:
            logging.info('the names of the classes are not taken from the data: %s', error)
        else:
            if len(names) == network.num_classes:
                return names
    names = published.names_of_classes(network)
    if names[0] == '0':
        logging.warning(
            'the %d classes have no names: write them into class_names.txt, a line a class',
            network.num_classes,
        )
    return names
