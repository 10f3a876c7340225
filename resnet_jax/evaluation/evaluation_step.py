"""Evaluation step: a pure function of the weights and one device's share of a batch."""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax

from resnet_jax.devices.parallel import AXIS
from resnet_jax.evaluation import metrics

ComputeLogits = Callable[[Any, jax.Array], jax.Array]
"""`compute_logits(variables, images)`: images are uint8 `[N, H, W, 3]`, logits float32 `[N, C]`."""


def make_evaluation_step(
    compute_logits: ComputeLogits,
) -> Callable[[dict[str, Any], dict[str, jax.Array]], dict[str, jax.Array]]:
    """Returns `evaluation_step(variables, batch)`, to be mapped by `parallel.p_map`.

    The step gathers its results over the axis `parallel.AXIS`, so they cover the N examples of all
    devices, in order: `loss` float32 `[N]` without label smoothing, `top_classes` int32
    `[N, min(5, C)]`, and the `label`, `mask` and `id` of the batch.
    """

    def evaluation_step(
        variables: dict[str, Any], batch: dict[str, jax.Array]
    ) -> dict[str, jax.Array]:
        logits = compute_logits(variables, batch['image'])
        outputs = {
            'loss': metrics.compute_cross_entropy(logits, batch['label']),
            'top_classes': metrics.compute_top_classes(logits),
            **{key: batch[key] for key in ('label', 'mask', 'id')},
        }
        return lax.all_gather(outputs, AXIS, tiled=True)

    return evaluation_step
