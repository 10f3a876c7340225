"""Training step: a pure function of the replicated state and each device's share of a batch.

It is written for `parallel.p_map`: everything that it returns is reduced or gathered over the axis
`parallel.AXIS`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from ml_collections import ConfigDict

from resnet_jax.devices.parallel import AXIS
from resnet_jax.evaluation import metrics
from resnet_jax.models.resnet import ResNet
from resnet_jax.training.state import TrainState

MAX_UNROLLED_PARTS = 16
"""Largest number of parts of a batch that CPUs process without a loop."""


def make_train_step(
    config: ConfigDict, model: ResNet, optimizer: optax.GradientTransformation
) -> Callable[[TrainState, dict[str, jax.Array]], tuple[TrainState, metrics.TrainMetrics]]:
    """Returns `train_step(state, batch) -> (state, metrics)`.

    The batch on each device holds `image` uint8 `[N, H, W, 3]`, `label` int32 `[N]` and `mask` bool
    `[N]`. The loss is the mean over the examples of all devices whose mask is True. It includes
    label smoothing, in the metrics too.

    With `optimizer.accumulate_steps` = A, each device processes its N rows in A parts, one after
    the other. Then the sums of the gradients are averaged over the devices and applied once. Batch
    norm sees one part at a time, and each part updates the running statistics. Everything else is
    the same as with one large batch.

    A frozen backbone computes as in evaluation, and its running statistics do not change.
    """
    num_parts = config.optimizer.accumulate_steps
    is_frozen = config.optimizer.frozen == 'backbone'

    def train_step(
        state: TrainState, batch: dict[str, jax.Array]
    ) -> tuple[TrainState, metrics.TrainMetrics]:
        mask = batch['mask']
        mean_count = lax.pmean(jnp.sum(mask, dtype=jnp.float32), AXIS)

        def compute_loss(params: Any, batch_stats: Any, part: dict) -> tuple[jax.Array, tuple]:
            logits, updates = model.apply(
                {'params': params, 'batch_stats': batch_stats},
                part['image'],
                train=not is_frozen,
                mutable=['batch_stats'],
            )
            losses = metrics.compute_cross_entropy(logits, part['label'], config.label_smoothing)
            loss = jnp.sum(jnp.where(part['mask'], losses, 0.0)) / jnp.where(
                mean_count > 0, mean_count, 1.0
            )
            return loss, (updates['batch_stats'], logits, losses)

        gradients, (batch_stats, logits, losses) = _sum_over_parts(
            jax.grad(compute_loss, has_aux=True), state, batch, num_parts
        )
        gradients, batch_stats = lax.pmean((gradients, batch_stats), AXIS)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        if is_frozen:  # copied: the sum with 0 and the mean over devices can change bits
            params, batch_stats = state.params | {'head': params['head']}, state.batch_stats
        state = state.replace(
            step=state.step + 1,
            params=params,
            batch_stats=batch_stats,
            opt_state=opt_state,
        )
        if config.ema_decay:
            state = _update_averages(state, config.ema_decay, is_frozen)
        return state, metrics.TrainMetrics.gather(
            logits=logits, losses=losses, labels=batch['label'], mask=mask, axis_name=AXIS
        )

    return train_step


def _sum_over_parts(
    compute_gradients: Callable, state: TrainState, batch: dict[str, jax.Array], num_parts: int
) -> tuple[Any, tuple[Any, jax.Array, jax.Array]]:
    """Returns what `compute_gradients` returns for a batch, summed over its parts."""
    if num_parts == 1:
        return compute_gradients(state.params, state.batch_stats, batch)

    def add_part(sums: tuple[Any, Any], part: dict) -> tuple[tuple[Any, Any], tuple]:
        gradients, (batch_stats, *outputs) = compute_gradients(state.params, sums[1], part)
        return (jax.tree.map(jnp.add, sums[0], gradients), batch_stats), outputs

    parts = jax.tree.map(lambda array: array.reshape(num_parts, -1, *array.shape[1:]), batch)
    zeros = jax.tree.map(jnp.zeros_like, state.params)
    # XLA has no fast convolutions inside loops for CPUs, but compiles each unrolled part.
    unroll = jax.default_backend() == 'cpu' and num_parts <= MAX_UNROLLED_PARTS
    (gradients, batch_stats), outputs = lax.scan(
        add_part, (zeros, state.batch_stats), parts, unroll=unroll
    )
    logits, losses = (array.reshape(-1, *array.shape[2:]) for array in outputs)
    return gradients, (batch_stats, logits, losses)


def _update_averages(state: TrainState, decay: float, is_frozen: bool) -> TrainState:
    """Moves the averages towards the current values, faster during the first steps.

    The decay is `min(decay, (1 + step) / (10 + step))`, as in TensorFlow's
    `ExponentialMovingAverage` with `num_updates`. What is frozen is copied, because the average of
    equal numbers differs from them by rounding.
    """
    step_decay = jnp.minimum(decay, (1 + state.step) / (10 + state.step))

    def average(old: Any, new: Any) -> Any:
        return jax.tree.map(lambda old, new: step_decay * old + (1 - step_decay) * new, old, new)

    if is_frozen:
        head = average(state.ema_params['head'], state.params['head'])
        return state.replace(
            ema_params=state.params | {'head': head}, ema_batch_stats=state.batch_stats
        )
    return state.replace(
        ema_params=average(state.ema_params, state.params),
        ema_batch_stats=average(state.ema_batch_stats, state.batch_stats),
    )
