"""Config schema: every field of a run with its default and a comment.

A file in `configs/` starts from `get_config()`, changes a few fields, and ends with
`data_sets.use_data`. No field is `None` or a list, because the command line cannot override those.
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the default config: ResNet-18 on ImageNet, 30 epochs, batch size 256."""
    config = ConfigDict()
    config.seed = 0  # random seed of initial weights, order of examples and augmentation
    config.num_epochs = 30  # number of passes over the training split
    config.batch_size = 256  # training examples per step, over all devices of all processes
    # Number of devices of each process; 0 = every GPU, or four simulated devices without a GPU.
    config.num_devices = 0
    config.deterministic = False  # True: GPUs give the same bits in every run, but run slower
    # Folder of the run whose best checkpoint gives the initial weights; '' = random weights.
    config.initial_weights = ''
    # Head of a run that starts from `initial_weights`; 'auto': kept if both runs have the same
    # class names, reordered if need be, and else re-initialised; 'keep': kept as it is; 'new':
    # re-initialised.
    config.initial_head = 'auto'

    config.model = _model_config()

    config.data = _data_config()

    config.optimizer = _optimizer_config()
    config.label_smoothing = 0.0  # share of the target that is spread over all classes; 0 = off
    # Decay per step of a moving average of the weights, which evaluation uses; 0 = no average.
    config.ema_decay = 0.0

    config.schedule = _schedule_config()

    config.log_every_steps = 100  # period of log lines and rows of machine.csv, in steps
    # Accuracy by which the best checkpoint is chosen and that is shown first: 'top1', 'top5' or
    # 'auto': top-5 with 20 classes or more, else top-1.
    config.best_metric = 'auto'
    config.evaluate_every_epochs = 1  # period of evaluations, in epochs
    config.checkpoint_every_epochs = 1  # period of checkpoints, in epochs
    config.checkpoint_every_steps = 0  # period of additional checkpoints, in steps; 0 = none
    config.keep_checkpoints = 3  # number of latest checkpoints kept, plus the best one; 0 = all
    return config


def _model_config() -> ConfigDict:
    """Returns the defaults of the network."""
    model = ConfigDict()
    model.depth = 18  # 18, 34, 50, 101, 152, 200, 269 (ImageNet); 6n+2 or 9n+2 (CIFAR)
    # Library whose details of the architecture are used (docs/weights.md): 'mxnet', 'timm',
    # 'timm_d', 'gluoncv', 'gluoncv_cifar' or 'keras'.
    model.variant = 'mxnet'
    # First layers; 'imagenet': 7x7 convolution of stride 2, max pooling; 'cifar': 3x3 convolution.
    model.stem = 'imagenet'
    # Number of channels of the first stage, doubled in each later stage; bottleneck blocks output
    # four times as many.
    model.width = 64
    model.num_classes = 0  # number of logits; 0 = the number of classes in the data
    # Data type of the computation: 'float32' or 'bfloat16'. Weights, statistics, logits and loss
    # are always float32.
    model.dtype = 'bfloat16'
    model.scan_blocks = False  # True: a stage's identical blocks run in a loop, compiled only once
    # Memory saving; 'none': off; 'blocks': keep only the inputs of the blocks for the backward
    # pass, and compute the rest again.
    model.remat = 'none'
    # Examples over which batch norm computes its statistics in training; False: each device's share
    # of the batch; True: the whole batch.
    model.sync_batch_norm = False
    model.batch_norm_momentum = 0.9  # share of the old running statistics that a step keeps
    model.batch_norm_epsilon = 0.0  # number added to the variance; 0 = the variant's number
    model.kernel_init = 'he_fan_out'  # initialisation: 'he_fan_out', 'he_fan_in', 'mxnet_2016'
    return model


def _data_config() -> ConfigDict:
    """Returns the defaults of the data set and of the preparation of its images."""
    data = ConfigDict()
    # 'digits': small images in scikit-learn; 'tfds': TensorFlow Datasets; 'folder': image files.
    data.source = 'tfds'
    data.name = 'imagenet2012'  # 'tfds': name of the data set in TFDS; otherwise only a label
    # 'tfds': folder of TFDS, '' = its default; 'folder': folder that holds <split>/<class>/*.jpg,
    # or <class>/*.jpg if validation_fraction is not 0.
    data.dir = ''
    data.train_split = 'train'  # name of the split for training
    data.validation_split = 'validation'  # name of the split for evaluation
    # 'folder': share of the images of each class that a folder without splits sets aside for
    # evaluation; 0 = the folder has splits.
    data.validation_fraction = 0.0
    data.image_size = 224  # side of the square images that the network gets, in px
    # ((epoch, px), ...): side of the training images from each of these epochs on, counted from 0;
    # image_size before the first of them.
    data.size_schedule = ()
    # Short side to which evaluation and 'crop_mirror' resize an image before the crop, in px.
    data.resize_size = 256
    # Random augmentation of training images (data/augmentation.py): 'random_resized_crop',
    # 'crop_mirror', 'pad_crop', 'shift' or 'none'.
    data.augmentation = 'random_resized_crop'
    # 'bilinear' or 'bicubic', without antialiasing: the resizing of training images by
    # 'random_resized_crop' and 'crop_mirror'.
    data.train_interpolation = 'bilinear'
    # 'bilinear' or 'bicubic', with antialiasing: the resizing of all other images.
    data.validation_interpolation = 'bilinear'
    data.mean = (123.675, 116.28, 103.53)  # RGB, in levels of 0-255, subtracted from the image
    # RGB, in levels of 0-255, by which the difference is divided; (1, 1, 1) = no division.
    data.std = (58.395, 57.12, 57.375)
    # Images that cannot be decoded; 'raise': they stop the run; 'skip': left out and counted.
    data.on_error = 'raise'
    # 'skip': share of an epoch's or an evaluation's images that may be skipped; more of them stop
    # the run.
    data.max_skipped_fraction = 0.1
    # True: images are turned and mirrored as the EXIF orientation of their file says.
    data.exif_orientation = False
    data.num_threads = 0  # number of threads of the input pipeline; 0 = one per CPU core
    data.prefetch_batches = 2  # number of batches prepared ahead on the host
    # 'tfds': number of files whose records are shuffled together, in memory.
    data.shuffle_group_files = 8
    return data


def _optimizer_config() -> ConfigDict:
    """Returns the defaults of the optimizer, SGD with momentum."""
    optimizer = ConfigDict()
    # Highest learning rate of the schedule; it is not rescaled when batch_size changes.
    optimizer.learning_rate = 0.1
    optimizer.momentum = 0.9  # share of the old momentum that a step keeps; 0 = plain SGD
    optimizer.nesterov = True  # True: Nesterov momentum; False: classical momentum
    optimizer.weight_decay = 1e-4  # this number times the weights is added to the gradient
    optimizer.decay_all_parameters = False  # weight decay; False: of kernels only; True: of all
    optimizer.gradient_clip = 0.0  # limit for the gradient, before the weight decay; 0 = none
    # What the limit applies to; 'global_norm': norm of the whole gradient; 'value': each element.
    optimizer.gradient_clip_kind = 'global_norm'
    # Number of parts in which each device processes its share of the batch, one after the other;
    # more than 1 saves memory.
    optimizer.accumulate_steps = 1
    # 'none': train everything; 'backbone': train only the head and keep the running statistics.
    optimizer.frozen = 'none'
    return optimizer


def _schedule_config() -> ConfigDict:
    """Returns the defaults of the learning-rate schedule."""
    schedule = ConfigDict()
    schedule.name = 'step'  # 'step', 'exponential', 'cosine' (falls to 0) or 'constant'
    # Factor of the learning rate; 'step': at each boundary; 'exponential': after every epoch.
    schedule.factor = 0.1
    schedule.boundaries_epochs = (10, 20, 27)  # 'step': completed epochs when the rate drops
    # Length of the linear warm-up, in epochs; 0 = none. If it has n steps, it starts at 1/n of the
    # learning rate.
    schedule.warmup_epochs = 0.0
    return schedule


def flatten(config: Mapping) -> dict[str, Any]:
    """Returns `{'model.depth': 18, ...}`, in alphabetical order on each level."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping | ConfigDict):
            flat |= {f'{key}.{inner}': leaf for inner, leaf in flatten(value).items()}
        else:
            flat[key] = value
    return flat
