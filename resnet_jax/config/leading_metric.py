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


def best_row(metrics: Mapping[str, Any], leading: str) -> int:
    """Returns the row of `metrics.csv` with the best evaluation: that of `--checkpoint=best`.

    Args:
      metrics: arrays of floats by column, with at least one row; nan is the worst accuracy.
      leading: accuracy that decides, 'top1' or 'top5'. Of rows in which it is equal, the other
        accuracy decides, then the later row.
    """
    other = {'top1': 'top5', 'top5': 'top1'}[leading]

    def rank(row: int) -> tuple[float, float, int]:
        first, second = (metrics[f'validation_{name}'][row] for name in (leading, other))
        return (-1 if math.isnan(first) else first), (-1 if math.isnan(second) else second), row

    return max(range(len(metrics['validation_top1'])), key=rank)
