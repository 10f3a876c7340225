"""Config files in JSON: writing and reading."""

import json
from typing import Any

from ml_collections import ConfigDict

from resnet_jax.config.checks import validate_flat
from resnet_jax.config.schema import flatten, get_config
from resnet_jax.errors import InputError


def to_json(config: ConfigDict) -> str:
    """Returns the config as indented JSON; `from_json` reads it back."""
    return json.dumps(config.to_dict(), indent=2) + '\n'


def from_json(text: str, *, where: str) -> ConfigDict:
    """Reads and validates a config that `to_json` wrote.

    Args:
      text: JSON. Missing fields get their defaults, but `best_metric` gets 'top5', by which earlier
        versions chose the best checkpoint.
      where: name of the file, for messages.

    Raises:
      InputError: if the text is not a valid config.
    """
    try:
        flat = {field: _as_tuple(value) for field, value in flatten(json.loads(text)).items()}
    except (ValueError, AttributeError, RecursionError) as error:
        raise InputError(f'{where}: expected a config as JSON, found {error}') from None
    config = get_config()
    config.best_metric = 'top5'
    try:
        validate_flat(flatten(config) | flat)
    except InputError as error:
        raise InputError(f'{where}: {error}') from None
    config.update_from_flattened_dict(flat)
    return config


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list) else value
