"""Optimizer: SGD with momentum, weight decay and gradient clipping."""

from typing import Any

import jax
import optax
from ml_collections import ConfigDict


def make_optimizer(
    config: ConfigDict, learning_rate: optax.Schedule
) -> optax.GradientTransformation:
    """Returns the optimizer. It clips the gradient, adds the weight decay, and applies momentum.

    The weight decay times the parameters is added to the gradient, which is the gradient of an L2
    penalty with half that factor, as in MXNet, PyTorch and the papers. As in MXNet, it is added
    after clipping.

    With a frozen backbone, only the head is trained, and the norm of the gradient is the head's.

    Args:
      config: complete config, of which `optimizer` is read.
      learning_rate: schedule of the learning rate, a function of the step.
    """
    optimizer = config.optimizer
    transforms = []
    if optimizer.gradient_clip:
        clips = {'value': optax.clip, 'global_norm': optax.clip_by_global_norm}
        transforms.append(clips[optimizer.gradient_clip_kind](optimizer.gradient_clip))
    if optimizer.weight_decay:
        mask = None if optimizer.decay_all_parameters else kernels_only
        transforms.append(optax.add_decayed_weights(optimizer.weight_decay, mask))
    transforms.append(
        optax.sgd(learning_rate, momentum=optimizer.momentum or None, nesterov=optimizer.nesterov)
    )
    if optimizer.frozen == 'none':
        return optax.chain(*transforms)
    transform_of_part = {'head': optax.chain(*transforms), 'backbone': optax.set_to_zero()}
    return optax.multi_transform(transform_of_part, head_or_backbone)


def head_or_backbone(params: Any) -> Any:
    """Returns a tree with the string 'head' or 'backbone' for each parameter."""

    def name(path: tuple, _: Any) -> str:
        return 'head' if path[0].key == 'head' else 'backbone'

    return jax.tree_util.tree_map_with_path(name, params)


def kernels_only(params: Any) -> Any:
    """Returns a tree of bools, True for the kernels of the convolutions and of the head."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == 'kernel', params)
