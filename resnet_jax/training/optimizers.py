"""SGD with momentum, weight decay and clipping."""

from typing import Any

import jax
import optax
from ml_collections import ConfigDict


def make_optimizer(
    config: ConfigDict, learning_rate: optax.Schedule
) -> optax.GradientTransformation:
    """Returns the optimizer: clip the gradient, add the decay, average, step.

    The weight decay is added to the gradient (an L2 penalty of half its value, as in MXNet,
    PyTorch and the papers), after clipping as in MXNet. With a frozen backbone all of this is about
    the head alone, the norm of the gradient too.

    Args:
      config: a whole config; `optimizer` is read.
      learning_rate: of the step.
    """
    optimizer = config.optimizer
    parts = []
    if optimizer.gradient_clip:
        clips = {'value': optax.clip, 'global_norm': optax.clip_by_global_norm}
        parts.append(clips[optimizer.gradient_clip_kind](optimizer.gradient_clip))
    if optimizer.weight_decay:
        mask = None if optimizer.decay_all_parameters else kernels_only
        parts.append(optax.add_decayed_weights(optimizer.weight_decay, mask))
    parts.append(
        optax.sgd(learning_rate, momentum=optimizer.momentum or None, nesterov=optimizer.nesterov)
    )
    if optimizer.frozen == 'none':
        return optax.chain(*parts)
    parts = {'head': optax.chain(*parts), 'backbone': optax.set_to_zero()}
    return optax.multi_transform(parts, head_or_backbone)


def head_or_backbone(params: Any) -> Any:
    """Returns a tree that says of each parameter which of both it belongs to."""

    def name(path: tuple, _: Any) -> str:
        return 'head' if path[0].key == 'head' else 'backbone'

    return jax.tree_util.tree_map_with_path(name, params)


def kernels_only(params: Any) -> Any:
    """Returns a tree of bools, True for convolutions' and the head's kernels."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == 'kernel', params)
