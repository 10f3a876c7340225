"""Accuracy that leads: the one that chooses the best checkpoint and is shown first."""

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
