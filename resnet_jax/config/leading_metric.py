"""Accuracy that leads: the one that chooses the best checkpoint and is shown first."""

import math
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

FEW_CLASSES = 20
"""With fewer classes, top-5 accuracy is close to 1 from the start, so top-1 leads."""


def leading_metric(config: ConfigDict, num_classes: int) -> str:
    """Returns 'top1' or 'top5'.

    Args:
      config: complete config, of which `best_metric` is read.
      num_classes: number of classes in the data.
    """
    if config.best_metric == 'auto':
        return 'top1' if num_classes < FEW_CLASSES else 'top5'
    return config.best_metric


def rank(scores: Mapping[str, float], leading: str) -> tuple[float, float, int]:
    """Returns a sort key of evaluated steps: one accuracy, then the other, then the later step.

    Args:
      scores: `top1`, `top5` and `step`.
      leading: accuracy that comes first, 'top1' or 'top5'.
    """
    other = 'top5' if leading == 'top1' else 'top1'
    return scores[leading], scores[other], int(scores['step'])


def best_row(metrics: Mapping[str, Any], leading: str) -> int:
    """Returns the row of `metrics.csv` with the best evaluation: that of `--checkpoint=best`.

    Args:
      metrics: arrays of floats by column, with at least one row; nan is the worst accuracy.
      leading: accuracy that comes first, as in `rank`.
    """

    def rank_row(row: int) -> tuple[float, float, int]:
        values = {name: float(metrics[f'validation_{name}'][row]) for name in ('top1', 'top5')}
        scores = {name: -1.0 if math.isnan(value) else value for name, value in values.items()}
        return rank(scores | {'step': row}, leading)

    return max(range(len(metrics['validation_top1'])), key=rank_row)
