"""Loss and accuracies: of single examples, and as sums that are divided once."""

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


def compute_cross_entropy(
    logits: jax.Array, labels: jax.Array, label_smoothing: float = 0.0
) -> jax.Array:
    """Returns each example's cross-entropy in nats, float32 `[N]`.

    Args:
      logits: float32 `[N, C]`.
      labels: int32 `[N]`.
      label_smoothing: share of the target that is spread over all classes (Szegedy et al. 2016,
        arXiv:1512.00567, equation 3 and the text behind it).
    """
    log_probabilities = jax.nn.log_softmax(logits)
    chosen = jnp.take_along_axis(log_probabilities, labels[:, None], axis=-1)[:, 0]
    mean = jnp.mean(log_probabilities, axis=-1)
    return -((1 - label_smoothing) * chosen + label_smoothing * mean)


def compute_top_classes(logits: jax.Array) -> jax.Array:
    """Returns the five classes with the greatest logits, int32 `[N, min(5, C)]`.

    They fall in order; of equal logits the lower class comes first.
    """
    return lax.top_k(logits, min(TOP_K, logits.shape[-1]))[1]


@flax.struct.dataclass
class TrainMetrics(metrics.Collection):
    """Sums and counts of loss, top-1 and top-5 over the training examples of a step."""

    loss: metrics.Average.from_output('loss')
    top1: metrics.Average.from_output('top1')
    top5: metrics.Average.from_output('top5')

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
        """Returns the sums over all devices' examples, those outside the mask left out.

        Args:
          logits: this device's, float32 `[N, C]`.
          losses: float32 `[N]`.
          labels: int32 `[N]`.
          mask: bool `[N]`.
          axis_name: the mapped axis of the devices.
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
"""Total and count by metric, on the host in double precision: exact over any number of steps."""


def add_sums(sums: Sums, step_metrics: TrainMetrics) -> Sums:
    """Returns `sums` (which may be empty) plus those of a step."""
    added = {}
    for name in ('loss', 'top1', 'top5'):
        total, count = sums.get(name, (0.0, 0.0))
        average = getattr(step_metrics, name)
        added[name] = (total + float(average.total), count + float(average.count))
    return added


def compute_means(sums: Sums) -> dict[str, float]:
    """Returns total / count of each metric; nan where nothing was counted."""
    return {name: total / count if count else math.nan for name, (total, count) in sums.items()}


@dataclasses.dataclass(frozen=True)
class EvaluationResult:
    """What an evaluation of a whole split found.

    Attributes:
      split: 'train' or 'validation'.
      step: of the weights.
      num_examples: in the split, each counted once.
      num_errors: of those, how many could not be decoded: they count as wrong, and the loss and
        the confusion leave them out.
      loss: mean cross-entropy in nats, without label smoothing.
      top1: fraction of the examples whose label is the most probable class.
      top5: fraction whose label is among the five most probable (all, if there are fewer).
      counts: which classes were predicted for which, by rank.
      averaged: whether the weights were the average over steps (`config.ema_decay`).
      mxnet_r_top5: what MXNet's R package would have called top-5 (`evaluation.mxnet_r`), where it
        was asked for.
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
        """Int64 `[C, C]`, rows the true class, columns each of the (at most) five predicted.

        `trace / num_examples == top5`.
        """
        return self.counts.matrix()
