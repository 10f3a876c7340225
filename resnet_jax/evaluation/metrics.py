"""Loss and accuracies of examples, of training steps and of whole evaluations."""

import dataclasses
import math

import flax
import jax
import jax.numpy as jnp
import numpy as np
from clu import metrics
from jax import lax

from resnet_jax.evaluation.confusion import ConfusionCounts

TOP_K = 5
"""Number of most probable classes that are predicted for an example."""


def compute_cross_entropy(
    logits: jax.Array, labels: jax.Array, label_smoothing: float = 0.0
) -> jax.Array:
    """Returns the cross-entropy of each example in nats, float32 `[N]`.

    Args:
      logits: float32 `[N, C]`.
      labels: int32 `[N]`.
      label_smoothing: fraction of the target that is spread evenly over all classes (Szegedy et
        al. 2016, arXiv:1512.00567, equation 3 and the text after it).
    """
    log_probabilities = jax.nn.log_softmax(logits)
    label_terms = jnp.take_along_axis(log_probabilities, labels[:, None], axis=-1)[:, 0]
    mean_terms = jnp.mean(log_probabilities, axis=-1)
    return -((1 - label_smoothing) * label_terms + label_smoothing * mean_terms)


def compute_top_classes(logits: jax.Array) -> jax.Array:
    """Returns the five classes with the greatest logits, int32 `[N, min(5, C)]`.

    They are sorted by descending logit. Of classes with equal logits, the lower index is first.
    """
    return lax.top_k(logits, min(TOP_K, logits.shape[-1]))[1]


@flax.struct.dataclass
class TrainMetrics(metrics.Collection):
    """Sums and counts of loss, top-1 and top-5 over the training examples of a step."""

    # The metrics of clu are classes that are made at run time.
    loss: metrics.Average.from_output('loss')  # type: ignore[valid-type]
    top1: metrics.Average.from_output('top1')  # type: ignore[valid-type]
    top5: metrics.Average.from_output('top5')  # type: ignore[valid-type]

    @classmethod
    def gather(
        cls,
        *,
        logits: jax.Array,
        losses: jax.Array,
        labels: jax.Array,
        mask: jax.Array,
        axis_name: str,
    ) -> 'TrainMetrics':
        """Returns the sums over the examples of all devices.

        Args:
          logits: logits of this device's examples, float32 `[N, C]`.
          losses: their losses, float32 `[N]`.
          labels: their labels, int32 `[N]`.
          mask: bool `[N]`, False for rows that are not counted.
          axis_name: mapped axis of the devices.
        """
        hits = compute_top_classes(logits) == labels[:, None]
        return cls.gather_from_model_output(
            axis_name=axis_name,
            loss=losses,
            top1=hits[:, 0].astype(jnp.float32),
            top5=jnp.any(hits, axis=-1).astype(jnp.float32),
            mask=mask,
        )


Sums = dict[str, tuple[float, float]]
"""Total and count of each metric. They are double-precision numbers on the host, so totals of
many steps stay exact."""


def add_sums(sums: Sums, step_metrics: TrainMetrics) -> Sums:
    """Returns `sums`, which can be empty, plus the sums of a step."""
    added = {}
    for name in ('loss', 'top1', 'top5'):
        total, count = sums.get(name, (0.0, 0.0))
        average = getattr(step_metrics, name)
        added[name] = (total + float(average.total), count + float(average.count))
    return added


def compute_means(sums: Sums) -> dict[str, float]:
    """Returns total / count of each metric; nan if the count is 0."""
    return {name: total / count if count else math.nan for name, (total, count) in sums.items()}


@dataclasses.dataclass(frozen=True)
class EvaluationResult:
    """Result of the evaluation of a whole split.

    Attributes:
      split: 'train' or 'validation'.
      step: number of training steps of the weights.
      num_examples: number of examples in the split, each counted once.
      num_errors: number of examples that could not be decoded. They count as wrong predictions;
        the loss and the confusion counts exclude them.
      loss: mean cross-entropy in nats, without label smoothing.
      top1: fraction of the examples whose label is the most probable class.
      top5: fraction of the examples whose label is among the five most probable classes, or among
        all classes if there are fewer than five.
      counts: confusion counts.
      averaged: whether the weights are the average over steps (`config.ema_decay`).
      mxnet_r_top5: the "top-5" of MXNet's R package (`evaluation.mxnet_r`), or None if it was not
        computed.
    """

    split: str
    step: int
    num_examples: int
    num_errors: int
    loss: float
    top1: float
    top5: float
    counts: ConfusionCounts
    averaged: bool
    mxnet_r_top5: float | None = None

    @property
    def confusion(self) -> np.ndarray:
        """Confusion matrix of the (at most) five most probable classes, int64 `[C, C]`.

        Rows are true classes, columns are predicted classes; `trace / num_examples == top5`.
        """
        return self.counts.matrix()
