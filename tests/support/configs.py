"""The config files, and configs with changed fields."""

import importlib.util

from support.paths import ROOT

from resnet_jax.config import data_sets, schema

CONFIGS = sorted((ROOT / 'configs').glob('[!_]*.py'))


def load(name, *data):
    """Returns the config of a file in `configs/`, for a data set if one is given.

    The folder of images, which has no default, is called 'photographs'.
    """
    spec = importlib.util.spec_from_file_location(name, ROOT / 'configs' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config(*data)
    if config.data.source == 'folder':
        config.data.dir = 'photographs'
    return config


def digits_config(**changes):
    """Returns the digits config with changes; `__` in a name stands for the dot of a field."""
    config = data_sets.use_data(schema.get_config(), 'digits')
    config.batch_size, config.schedule.name = 128, 'step'
    config.update_from_flattened_dict({k.replace('__', '.'): v for k, v in changes.items()})
    return config
