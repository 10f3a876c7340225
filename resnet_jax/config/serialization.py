"""Config files in JSON: writing and reading."""

import json
from typing import Any

from ml_collections import ConfigDict

from resnet_jax.config.checks import (
    _is_finite,
    _same_type,
    _type_message,
    unknown_field_message,
    validate,
)
from resnet_jax.config.schema import flatten, get_config
from resnet_jax.errors import InputError


def to_json(config: ConfigDict) -> str:
    """Returns the config as indented JSON; `from_json` reads it back."""
    return json.dumps(config.to_dict(), indent=2) + '\n'


def from_json(text: str, *, where: str) -> ConfigDict:
    """Reads and validates a config that `to_json` wrote.

    Args:
      text: JSON. Missing fields get their defaults.
      where: name of the file, for messages.

    Raises:
      InputError: if the text is not a valid config.
    """
    try:
        flat = {field: _as_tuple(value) for field, value in flatten(json.loads(text)).items()}
    except (ValueError, AttributeError, RecursionError) as error:
        raise InputError(f'{where}: expected a config as JSON, found {error}') from None
    config = get_config()
    defaults = flatten(config)
    for field, value in flat.items():
        if field not in defaults:
            raise InputError(f'{where}: {unknown_field_message(field)}')
        if not _same_type(value, defaults[field]):
            raise InputError(f'{where}: {_type_message(field, value, defaults[field])}')
        if isinstance(defaults[field], float) and not _is_finite(value):
            raise InputError(f'{where}: config.{field} = {value!r}: expected a finite number')
        config.update_from_flattened_dict({field: value})
    validate(config)
    return config


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list) else value
