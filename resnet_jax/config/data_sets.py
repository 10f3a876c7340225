"""Data sets that can be combined with any config: `--config=FILE:DATA`."""

from typing import Any

from ml_collections import ConfigDict

from resnet_jax.errors import InputError

_PREPARED = {
    'data.source': 'tfds',
    'data.train_split': 'train',
    'data.validation_split': 'validation',
    'data.validation_fraction': 0.0,
    'data.exif_orientation': False,
}
"""Fields of every data set, whatever the config says about a folder of photographs."""

_CIFAR = _PREPARED | {
    'num_epochs': 164,  # about 64,000 steps, as in He et al. 2016
    'batch_size': 128,
    'schedule.boundaries_epochs': (82, 123),  # 32,000 and 48,000 steps
    'model.stem': 'cifar',
    'data.validation_split': 'test',
    'data.image_size': 32,
    'data.resize_size': 32,
    'data.augmentation': 'pad_crop',
}

DATA_SETS: dict[str, dict[str, Any]] = {
    'imagenet2012': _PREPARED | {'data.name': 'imagenet2012'},
    'cifar10': _CIFAR
    | {
        'data.name': 'cifar10',
        'data.mean': (125.307, 122.961, 113.8575),
        'data.std': (51.5865, 50.847, 51.255),
    },
    'cifar100': _CIFAR
    | {
        'data.name': 'cifar100',
        'data.mean': (129.304, 124.070, 112.434),
        'data.std': (68.170, 65.392, 70.418),
    },
    'digits': _PREPARED
    | {
        'num_epochs': 20,
        'batch_size': 64,
        'ema_decay': 0.9,
        'model.stem': 'cifar',
        'model.width': 32,
        'model.dtype': 'float32',
        # The weights change fast in so short a run, so the statistics must follow fast.
        'model.batch_norm_momentum': 0.8,
        'data.source': 'digits',
        'data.name': 'digits',
        'data.image_size': 8,
        'data.resize_size': 8,
        'data.augmentation': 'shift',
        'data.mean': (77.9, 77.9, 77.9),
        'data.std': (95.9, 95.9, 95.9),
        'optimizer.learning_rate': 0.05,
        'schedule.name': 'cosine',
        'schedule.warmup_epochs': 4.0,
        'log_every_steps': 22,
    },
}
"""The fields that each data set changes in a config, by the name after the colon of `--config`."""


def use_data(config: ConfigDict, data: str) -> ConfigDict:
    """Applies the fields of a data set to a config: source, image sizes, augmentation, run length.

    Args:
      config: config, changed in place and returned.
      data: name in `DATA_SETS`.

    Raises:
      InputError: if the name is unknown.
    """
    if data not in DATA_SETS:
        raise InputError(
            f'data set {data!r} after the colon of --config: expected one of '
            f'{", ".join(DATA_SETS)}. For another data set, choose the most similar one and '
            'override config.data.*'
        )
    config.update_from_flattened_dict(DATA_SETS[data])
    return config
