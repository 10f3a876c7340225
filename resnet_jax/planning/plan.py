"""Plan of a run: steps, FLOPs, memory and time, computed without data, GPU or training."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from resnet_jax.config import checks
from resnet_jax.console import text_plot
from resnet_jax.data.epochs import compute_steps_per_epoch
from resnet_jax.data.sources import registry
from resnet_jax.devices import backend, parallel
from resnet_jax.errors import InputError
from resnet_jax.models import initialization, resnet, stacking
from resnet_jax.planning import macs
from resnet_jax.reports.figures import learning_rate
from resnet_jax.training import optimizers, schedules
from resnet_jax.training.state import TrainState, abstract_state
from resnet_jax.training.train_step import make_train_step

DATA_SIZES = {
    'imagenet2012': (1000, {'train': 1_281_167, 'validation': 50_000}),
    'cifar10': (10, {'train': 50_000, 'test': 10_000}),
    'cifar100': (100, {'train': 50_000, 'test': 10_000}),
    'digits': (10, {'train': 1437, 'validation': 360}),
}
"""Number of classes, and of examples in each split, of data sets that a plan need not read."""

SPEEDS = (0.001, 1_000_000_000)
"""Smallest and largest assumed speed of training, in images per second."""

DEVICES = (0, 1_000_000)
"""Smallest and largest number of devices of a plan; 0 stands for the config's number."""

MAX_DRAWN_STEPS = 5000
"""Number of steps up to which the figure of the learning rate shows every step."""

MAX_UNROLLED_DEPTH = 300
"""Greatest depth of a network that is compiled as the config says. A deeper network is compiled
with `model.scan_blocks`: without it, the compiler needs many minutes for a thousand layers."""

FLOPS_PER_MAC = 6
"""Floating-point operations of training for each multiply-accumulate (MAC) of the forward pass.

A MAC is 2 operations. It is done once forward and twice backward, for the gradients of a layer's
input and of its kernel (as in Kaplan et al. 2020, arXiv:2001.08361, section 2.1).
"""


@dataclasses.dataclass(frozen=True)
class Plan:
    """Plan of a run.

    Attributes:
      num_devices: number of devices that share each batch.
      num_classes: number of outputs of the network.
      num_train: number of examples in the training split.
      num_validation: number of examples in the validation split.
      num_parameters: number of learnt parameters, without those of the batch norm of the image.
      num_input_norm_parameters: number of learnt parameters of the batch norm of the image, which
        published counts leave out.
      macs_per_image: multiply-accumulates of the forward pass of one image (`planning.macs`).
      steps_per_epoch: number of whole batches in the training split.
      num_steps: number of steps of the run.
      training_flops: `FLOPS_PER_MAC` x `macs_per_image` x images of all steps, without evaluation.
      learning_rates: learning rate at the first step of each epoch.
      activation_bytes: memory of a training step on each device, in bytes, without state and
        batch: activations, gradients and scratch for the device's share of a batch, as assigned by
        XLA's compiler for CPUs; beyond `MAX_UNROLLED_DEPTH` layers, with `model.scan_blocks`.
      checkpoint_bytes: size of the arrays of the training state in bytes: a checkpoint before
        compression, and the memory for the state on each device.
      images_per_second: assumed speed of training, or None.
      hours: time of the training steps at this speed in hours, or None.
    """

    num_devices: int
    num_classes: int
    num_train: int
    num_validation: int
    num_parameters: int
    num_input_norm_parameters: int
    macs_per_image: int
    steps_per_epoch: int
    num_steps: int
    training_flops: int
    learning_rates: tuple[float, ...]
    activation_bytes: int
    checkpoint_bytes: int
    images_per_second: float | None
    hours: float | None


def make_plan(
    config: ConfigDict, *, num_devices: int = 0, images_per_second: float | None = None
) -> Plan:
    """Computes the plan of a run. It uses only the CPU, and compiles a step without running it.

    Args:
      config: valid config (`checks.validate`).
      num_devices: number of devices that share each batch; 0 for the number in the config, or, if
        that is 0 too, the number of simulated devices.
      images_per_second: assumed speed of training, to estimate its time; None for no estimate.

    Raises:
      InputError: if the devices cannot share a batch evenly, if the data set is neither in
        `DATA_SIZES` nor on the disk, if the network has fewer logits than the data has classes, if
        the run has too many steps, or if a number is not in `DEVICES` or `SPEEDS`.
    """
    _require_range('num_devices', num_devices, DEVICES)
    if images_per_second is not None:
        _require_range('images_per_second', images_per_second, SPEEDS)
    num_devices = num_devices or config.num_devices or backend.SIMULATED_DEVICES
    checks.validate_shares(config.batch_size, num_devices, config.optimizer.accumulate_steps)
    num_classes, num_train, num_validation = _measure_data(config)
    checks.validate_num_classes(config, num_classes)
    steps_per_epoch = compute_steps_per_epoch(num_train, config.batch_size)
    checks.validate_num_steps(config, steps_per_epoch)
    num_steps = config.num_epochs * steps_per_epoch
    mesh = backend.start_one_cpu()
    if config.model.depth > MAX_UNROLLED_DEPTH:
        config = config.copy_and_resolve_references()
        config.model.scan_blocks = True
    model = resnet.create_model(config, num_classes, axis_name=parallel.AXIS)
    params = initialization.abstract_variables(model, config.data.image_size)['params']
    num_input_norm = _count(params.get('input_norm', {}))
    schedule = schedules.make_schedule(config, steps_per_epoch)
    optimizer = optimizers.make_optimizer(config, schedule)
    state = abstract_state(config, model, optimizer)
    state = stacking.stack_blocks(state, model.num_scanned)
    macs_per_image = macs.count_macs(model, config.data.image_size)
    train_step = parallel.p_map(make_train_step(config, model, optimizer), mesh, donate=True)
    num_images = num_steps * config.batch_size
    return Plan(
        num_devices=num_devices,
        num_classes=model.num_classes,
        num_train=num_train,
        num_validation=num_validation,
        num_parameters=_count(params) - num_input_norm,
        num_input_norm_parameters=num_input_norm,
        macs_per_image=macs_per_image,
        steps_per_epoch=steps_per_epoch,
        num_steps=num_steps,
        training_flops=FLOPS_PER_MAC * macs_per_image * num_images,
        learning_rates=_compute_rates(schedule, range(0, num_steps, steps_per_epoch)),
        activation_bytes=_measure_activations(
            train_step, state, config.batch_size // num_devices, config.data.image_size
        ),
        checkpoint_bytes=sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state)),
        images_per_second=images_per_second,
        hours=num_images / images_per_second / 3600 if images_per_second else None,
    )


def draw_schedule(plan: Plan, config: ConfigDict, title: str) -> bytes:
    """Returns a PNG of the learning rate over the whole run, with its changes within epochs.

    Args:
      plan: plan of the run.
      config: config of the run.
      title: name of the run.
    """
    schedule = schedules.make_schedule(config, plan.steps_per_epoch)
    interval = max(plan.num_steps // MAX_DRAWN_STEPS, 1)
    at_steps = [*range(0, plan.num_steps, interval), plan.num_steps]  # the end of the last step
    return learning_rate.draw_learning_rate(
        [step / plan.steps_per_epoch for step in at_steps],
        _compute_rates(schedule, [*at_steps[:-1], plan.num_steps - 1]),
        logarithmic=text_plot.is_logarithmic(plan.learning_rates),
        title=title,
    )


def _require_range(name: str, value: float, limits: tuple[float, float]) -> None:
    low, high = limits
    if not low <= value <= high:
        expected = f'at least {low:,} and at most {high:,}'
        raise InputError(f'{name} = {value}: expected {expected}')


def _compute_rates(schedule: Callable, steps: Sequence[int]) -> tuple[float, ...]:
    """Returns the learning rate at each of the steps."""
    return tuple(jax.vmap(schedule)(jnp.array(steps, jnp.int32)).tolist())


def _measure_data(config: ConfigDict) -> tuple[int, int, int]:
    """Returns the number of classes, and of training and validation examples.

    The data is read only if its sizes are not in `DATA_SIZES`.
    """
    data = config.data
    name = {'digits': 'digits', 'tfds': data.name, 'folder': ''}[data.source]
    num_classes, splits = DATA_SIZES.get(name, (0, {}))
    if data.train_split in splits and data.validation_split in splits:
        return num_classes, splits[data.train_split], splits[data.validation_split]
    train = registry.load_source(config, data.train_split)
    validation = registry.load_source(config, data.validation_split)
    return len(train.class_names), train.num_examples, validation.num_examples


def _measure_activations(
    p_train_step: Callable, state: TrainState, batch_size: int, image_size: int
) -> int:
    """Returns the memory of a training step on one device in bytes, without arguments and results.

    LLVM's optimisation is switched off to save time: it does not change the result, as it comes
    after the assignment of memory (measured for ResNet-50 on two cores: 3 s instead of 5 s).

    Args:
      p_train_step: training step, mapped over one device by `parallel.p_map`.
      state: training state, as shapes and dtypes.
      batch_size: number of images on the device.
      image_size: height and width of the images in px.
    """
    batch = {
        'image': jax.ShapeDtypeStruct((1, batch_size, image_size, image_size, 3), jnp.uint8),
        'label': jax.ShapeDtypeStruct((1, batch_size), jnp.int32),
        'mask': jax.ShapeDtypeStruct((1, batch_size), jnp.bool_),
    }
    options: dict[str, Any] = {'xla_backend_optimization_level': 0} | backend.KEEP_RECOMPUTATION
    compiled = cast(jax.stages.Wrapped, p_train_step).lower(state, batch).compile(options)
    memory = compiled.memory_analysis()
    assert memory is not None  # XLA's compiler for CPUs always has it
    return memory.temp_size_in_bytes


def _count(arrays: Any) -> int:
    return sum(array.size for array in jax.tree.leaves(arrays))
