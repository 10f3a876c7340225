"""What a run will take, found without its data, without a GPU and without a step."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from resnet_jax.config import checks
from resnet_jax.console import text_plot
from resnet_jax.data import pipeline
from resnet_jax.data.sources import loading
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
"""Classes, and examples of each split, of the data sets that need not be there for a plan."""


MAX_DRAWN_STEPS = 5000


FLOPS_PER_MAC = 6
"""In training: 2 operations for a multiply-accumulate, once forward and twice backward, for the
gradients of a layer's input and of its kernel (as in Kaplan et al. 2020, arXiv:2001.08361, 2.1)."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a run will take.

    Attributes:
      num_devices: that share each batch.
      num_classes: of the network.
      num_train: examples of the training split.
      num_validation: of the validation split.
      num_parameters: that are learnt, without those of the image's batch norm.
      num_input_norm_parameters: of the image's batch norm, which published counts leave out.
      macs_per_image: of the forward pass (`models.macs`).
      steps_per_epoch: whole batches in the training split.
      num_steps: of the run.
      training_flops: `FLOPS_PER_MAC` x `macs_per_image` x images of all steps; without evaluation.
      learning_rates: at the first step of each epoch.
      activation_bytes: on each device; what the compiler for CPUs takes for a training step on that
        device's share of a batch, beside the state and the batch: activations, gradients, scratch.
      checkpoint_bytes: of the arrays of the state, before compression; each device holds as much.
      images_per_second: that was given, or None.
      hours: of the training steps at that speed, or None.
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
    """Computes what a run of a config will take; only the CPU is touched, and it only compiles.

    Args:
      config: valid (`validation.validate`).
      num_devices: that share each batch; 0 for the config's, or as many as are simulated.
      images_per_second: the speed of training with which to estimate its time.

    Raises:
      InputError: when the devices cannot share a batch, or when the sizes of the data are not
        known and the data is not there either, or for a speed that is none.
    """
    if images_per_second is not None and not 0 < images_per_second < math.inf:
        raise InputError(f'images_per_second = {images_per_second}: expected a number above 0')
    num_devices = num_devices or config.num_devices or backend.SIMULATED_DEVICES
    checks.validate_shares(config.batch_size, num_devices)
    num_classes, num_train, num_validation = _measure_data(config)
    steps_per_epoch = pipeline.compute_steps_per_epoch(num_train, config.batch_size)
    num_steps = config.num_epochs * steps_per_epoch
    mesh = backend.start_one_cpu()
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
        learning_rates=tuple(
            float(schedule(step)) for step in range(0, num_steps, steps_per_epoch)
        ),
        activation_bytes=_measure_activations(
            train_step, state, config.batch_size // num_devices, config.data.image_size
        ),
        checkpoint_bytes=sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state)),
        images_per_second=images_per_second,
        hours=num_images / images_per_second / 3600 if images_per_second else None,
    )


def draw_schedule(plan: Plan, config: ConfigDict, title: str) -> bytes:
    """Returns a PNG of the learning rate over the whole run, also within its epochs."""
    schedule = schedules.make_schedule(config, plan.steps_per_epoch)
    every = max(plan.num_steps // MAX_DRAWN_STEPS, 1)
    at_steps = [*range(0, plan.num_steps, every), plan.num_steps]  # the last step ends there
    return learning_rate.draw_learning_rate(
        [step / plan.steps_per_epoch for step in at_steps],
        jax.vmap(schedule)(jnp.array([*at_steps[:-1], plan.num_steps - 1])).tolist(),
        logarithmic=text_plot.is_logarithmic(plan.learning_rates),
        title=title,
    )


def _measure_data(config: ConfigDict) -> tuple[int, int, int]:
    """Returns the classes of the data and the examples of both splits; reads it if it must."""
    data = config.data
    name = {'digits': 'digits', 'tfds': data.name, 'folder': ''}[data.source]
    num_classes, splits = DATA_SIZES.get(name, (0, {}))
    if data.train_split in splits and data.validation_split in splits:
        return num_classes, splits[data.train_split], splits[data.validation_split]
    train = loading.load_source(config, data.train_split)
    held_out = loading.load_source(config, data.validation_split)
    return len(train.class_names), train.num_examples, held_out.num_examples


def _measure_activations(
    p_train_step: Callable, state: TrainState, batch_size: int, image_size: int
) -> int:
    """Returns the bytes that a step takes on one device beside its arguments and results.

    LLVM's optimisation, most of the time of compiling, is left out: it comes after memory has been
    assigned (ResNet-50 on two cores: 3 s instead of 5 s, and the same bytes).
    """
    batch = {
        'image': jax.ShapeDtypeStruct((1, batch_size, image_size, image_size, 3), jnp.uint8),
        'label': jax.ShapeDtypeStruct((1, batch_size), jnp.int32),
        'mask': jax.ShapeDtypeStruct((1, batch_size), jnp.bool_),
    }
    options = {'xla_backend_optimization_level': 0} | backend.KEEP_RECOMPUTATION
    compiled = p_train_step.lower(state, batch).compile(options)
    return compiled.memory_analysis().temp_size_in_bytes


def _count(arrays: Any) -> int:
    return sum(array.size for array in jax.tree.leaves(arrays))
