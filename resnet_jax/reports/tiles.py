"""Headline numbers of the report's page."""

import math

from resnet_jax.config.data_set_name import data_set_name
from resnet_jax.config.leading_metric import best_row
from resnet_jax.reports.figures.confusion_matrix import name_epoch
from resnet_jax.reports.page import Tile
from resnet_jax.reports.run_results import RunResults


def choose_tiles(results: RunResults) -> list[Tile]:
    """Returns the headline numbers. Accuracies and loss are those of `--checkpoint=best`."""
    metrics, config = results.metrics, results.config
    best = best_row(metrics, results.leading)
    measured_on = f'validation, {name_epoch(metrics["epoch"][best])}'
    top1, top5 = (
        Tile(title, _format(metrics[f'validation_{name}'][best], '.2%'), measured_on)
        for name, title in (('top1', 'Top-1 accuracy'), ('top5', 'Top-5 accuracy'))
    )
    tiles = [
        *((top1, top5) if results.leading == 'top1' else (top5, top1)),
        Tile('Loss', _format(metrics['validation_loss'][best], '.4f'), measured_on),
        Tile('Classes', f'{len(results.class_names):,}', data_set_name(config)),
    ]
    if results.last_epoch:
        last = name_epoch(results.last_epoch)
        speed = metrics['images_per_second'][-1]
        done = f'of {config.num_epochs}; step {metrics["step"][-1]:,.0f}'
        tiles += [
            Tile('Epochs', f'{results.last_epoch:g}', done),
            Tile('Images a second', _format(speed, ',.0f'), f'training, {last}'),
        ]
    return tiles


def _format(value: float, specification: str) -> str:
    """Returns a number as text, a dash if it was not measured."""
    return '–' if math.isnan(value) else format(value, specification)
