"""The one complete schema of a run, and the data sets that a config can be combined with.

`configs/*.py` start from `get_config()`, change a few lines, and end with `use_data`. No field is
`None` or a list, because neither can be overridden on the command line.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from resnet_jax.types import InputError

RUNS = Path('runs')
"""Where runs go for which no folder is named."""

IMAGENET_BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
    269: (3, 30, 48, 8),
}
"""Blocks in each of the four stages; 18 and 34 have basic blocks, the others bottlenecks."""


def get_config() -> ConfigDict:
    """Returns the schema with the defaults of the experiment: ImageNet, 30 epochs, batch 256."""
    config = ConfigDict()
    config.seed = 0  # initial weights, order of the examples, augmentation
    config.num_epochs = 30
    config.batch_size = 256  # examples a step, over all devices
    config.num_devices = 0  # 0 = every GPU, or four simulated devices on a machine without one
    config.deterministic = False  # on GPUs: the same bits every time, for some speed
    config.initial_weights = ''  # folder of another run whose weights this one starts from

    config.model = model = ConfigDict()
    model.depth = 18  # 18 34 50 101 152 200 269 (ImageNet), 6n+2 or 9n+2 (CIFAR)
    model.variant = (
        'mxnet'  # also 'timm' 'timm_d' 'gluoncv' 'gluoncv_cifar' 'keras': docs/weights.md
    )
    model.stem = 'imagenet'  # 'imagenet': 7x7, stride 2, pooling; 'cifar': 3x3
    model.width = 64  # channels of the first stage (bottlenecks put out four times as many)
    model.num_classes = 0  # 0 = as many as the data has
    model.dtype = 'bfloat16'  # of the computation; weights, statistics, logits and loss: float32
    model.scan_blocks = False  # a stage's identical blocks in a loop: compiles once for all of them
    model.remat = 'none'  # 'blocks': keep only their inputs for the backward pass, to save memory
    model.sync_batch_norm = False  # statistics over the whole batch, not over each device's share
    model.batch_norm_momentum = 0.9  # of the running statistics
    model.batch_norm_epsilon = 0.0  # 0 = the variant's
    model.kernel_init = 'he_fan_out'  # 'he_fan_out', 'he_fan_in', 'mxnet_2016'

    config.data = data = ConfigDict()
    data.source = 'tfds'  # 'digits' (embedded), 'tfds', 'folder'
    data.name = 'imagenet2012'  # the data set's name in TFDS; a label for the other sources
    data.dir = ''  # 'tfds': '' = TFDS's own default; 'folder': holds <split>/<class>/*.jpg
    data.train_split = 'train'
    data.validation_split = 'validation'
    data.image_size = 224  # px, square
    data.size_schedule = ()  # ((epoch, px), ...): other training sizes from these epochs on
    data.resize_size = 256  # px, short side before the centre crop
    data.augmentation = 'random_resized_crop'  # also 'crop_mirror' 'pad_crop' 'shift' 'none'
    data.train_interpolation = 'bilinear'  # or 'bicubic'; without antialiasing; of the first two
    data.validation_interpolation = 'bilinear'  # the same choice; with antialiasing
    data.mean = (123.675, 116.28, 103.53)  # RGB, in levels of 0-255, subtracted
    data.std = (58.395, 57.12, 57.375)  # RGB, in levels of 0-255, divided by; (1, 1, 1) = not
    data.on_error = 'raise'  # an image that cannot be decoded: 'raise', or 'skip' and count it
    data.num_threads = 0  # of the input pipeline; 0 = one for each core
    data.prefetch_batches = 2  # batches that wait on the host
    data.shuffle_group_files = 8  # 'tfds': files whose records are shuffled together, in memory

    config.optimizer = optimizer = ConfigDict()
    optimizer.learning_rate = 0.1  # for the batch size above; nothing is rescaled
    optimizer.momentum = 0.9
    optimizer.nesterov = True
    optimizer.weight_decay = 1e-4
    optimizer.decay_all_parameters = False  # False = kernels only
    optimizer.gradient_clip = 0.0  # 0 = off
    optimizer.gradient_clip_kind = 'global_norm'  # 'global_norm', 'value' (elementwise)
    optimizer.accumulate_steps = (
        1  # parts of each device's share, one after the other: saves memory
    )
    optimizer.frozen = 'none'  # 'backbone': only the head learns; statistics stay as they are too
    config.label_smoothing = 0.0
    config.ema_decay = 0.0  # of an average of the weights, used in evaluation; 0 = none

    config.schedule = schedule = ConfigDict()
    schedule.name = 'step'  # 'step', 'exponential', 'cosine', 'constant'
    schedule.factor = 0.1  # 'step': at each boundary; 'exponential': after every epoch
    schedule.boundaries_epochs = (10, 20, 27)  # epochs that are complete when the rate drops
    schedule.warmup_epochs = 0.0  # linear, from one step's share of the rate

    config.log_every_steps = 100
    config.evaluate_every_epochs = 1
    config.checkpoint_every_epochs = 1
    config.checkpoint_every_steps = 0  # besides; 0 = only after epochs
    config.keep_checkpoints = 3  # latest ones, beside the best; 0 = all
    return config


_CIFAR = {
    'num_epochs': 164,  # about 64,000 steps, as in He et al. 2016
    'batch_size': 128,
    'schedule.boundaries_epochs': (82, 123),  # 32,000 and 48,000 steps
    'model.stem': 'cifar',
    'data.source': 'tfds',
    'data.train_split': 'train',
    'data.validation_split': 'test',
    'data.image_size': 32,
    'data.resize_size': 32,
    'data.augmentation': 'pad_crop',
}

DATA_SETS: dict[str, dict[str, Any]] = {
    'imagenet2012': {},
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
    'digits': {
        'num_epochs': 20,
        'batch_size': 128,
        'model.stem': 'cifar',
        'model.dtype': 'float32',
        'data.source': 'digits',
        'data.name': 'digits',
        'data.train_split': 'train',
        'data.validation_split': 'validation',
        'data.image_size': 8,
        'data.resize_size': 8,
        'data.augmentation': 'shift',
        'data.mean': (77.9, 77.9, 77.9),
        'data.std': (95.9, 95.9, 95.9),
        'optimizer.learning_rate': 0.02,
        'schedule.boundaries_epochs': (12, 16, 19),
        'schedule.warmup_epochs': 3.0,
        'log_every_steps': 11,
    },
}
"""What each data set changes in a config, by the name that follows the colon of `--config`."""


def use_data(config: ConfigDict, data: str) -> ConfigDict:
    """Swaps in a data set: its source, sizes, augmentation and lengths.

    Args:
      config: changed in place.
      data: a name in `DATA_SETS`.

    Raises:
      InputError: for an unknown name.
    """
    if data not in DATA_SETS:
        raise InputError(
            f'data set {data!r} behind the colon of --config: expected one of '
            f'{", ".join(DATA_SETS)}. Other sets: choose the nearest and override config.data.*'
        )
    config.update_from_flattened_dict(DATA_SETS[data])
    return config


def flatten(config: Mapping) -> dict[str, Any]:
    """Returns `{'model.depth': 18, ...}`, in alphabetical order on each level."""
    flat = {}
    for key, value in config.items():
        if isinstance(value, Mapping | ConfigDict):
            flat |= {f'{key}.{inner}': leaf for inner, leaf in flatten(value).items()}
        else:
            flat[key] = value
    return flat


def cifar_blocks(depth: int) -> tuple[bool, int]:
    """Returns whether a CIFAR network has bottlenecks, and its blocks in each of three stages.

    He et al. 2016 (arXiv:1603.05027) build 6n+2 layers from basic blocks and 9n+2 from bottlenecks.
    Depths that are both, such as 110 and 164, are basic up to 110 and bottlenecks beyond, as there.

    Raises:
      InputError: when the depth is neither.
    """
    if depth >= 8 and depth % 6 == 2 and (depth <= 110 or depth % 9 != 2):
        return False, (depth - 2) // 6
    if depth >= 11 and depth % 9 == 2:
        return True, (depth - 2) // 9
    raise InputError(
        f'config.model.depth = {depth}: expected one of '
        f'{", ".join(map(str, IMAGENET_BLOCKS))}, or for CIFAR 6n+2 (20, 32, 44, 56, 110, ...) '
        'or 9n+2 (164, 1001, ...)'
    )
