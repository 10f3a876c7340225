"""The complete schema of a run: every field with its default and a comment.

`configs/*.py` start from `get_config()`, change a few lines, and end with `data_sets.use_data`. No
field is `None` or a list, because neither can be overridden on the command line.
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the schema with the defaults of the experiment: ImageNet, 30 epochs, batch 256."""
    config = ConfigDict()
    config.seed = 0  # initial weights, order of the examples, augmentation
    config.num_epochs = 30
    config.batch_size = 256  # examples a step, over all devices
    config.num_devices = 0  # 0 = every GPU, or four simulated devices on a machine without one
    config.deterministic = False  # on GPUs: the same bits every time, for some speed
    config.initial_weights = ''  # folder of another run whose weights this one starts from

    config.model = _model_config()

    config.data = _data_config()

    config.optimizer = _optimizer_config()
    config.label_smoothing = 0.0
    config.ema_decay = 0.0  # of an average of the weights, used in evaluation; 0 = none

    config.schedule = _schedule_config()

    config.log_every_steps = 100
    config.evaluate_every_epochs = 1
    config.checkpoint_every_epochs = 1
    config.checkpoint_every_steps = 0  # besides; 0 = only after epochs
    config.keep_checkpoints = 3  # latest ones, beside the best; 0 = all
    return config


def _model_config() -> ConfigDict:
    """The network."""
    model = ConfigDict()
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
    return model


def _data_config() -> ConfigDict:
    """The data set and how its images are prepared."""
    data = ConfigDict()
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
    return data


def _optimizer_config() -> ConfigDict:
    """SGD with momentum."""
    optimizer = ConfigDict()
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
    return optimizer


def _schedule_config() -> ConfigDict:
    """The learning rate by epoch."""
    schedule = ConfigDict()
    schedule.name = 'step'  # 'step', 'exponential', 'cosine', 'constant'
    schedule.factor = 0.1  # 'step': at each boundary; 'exponential': after every epoch
    schedule.boundaries_epochs = (10, 20, 27)  # epochs that are complete when the rate drops
    schedule.warmup_epochs = 0.0  # linear, from one step's share of the rate
    return schedule


def flatten(config: Mapping) -> dict[str, Any]:
    """Returns `{'model.depth': 18, ...}`, in alphabetical order on each level."""
    flat = {}
    for key, value in config.items():
        if isinstance(value, Mapping | ConfigDict):
            flat |= {f'{key}.{inner}': leaf for inner, leaf in flatten(value).items()}
        else:
            flat[key] = value
    return flat
