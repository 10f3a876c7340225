"""All that a run has to show, in a folder: pictures, a table of pairs, and one page with everything."""

import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from resnet_jax import base_config, workdir
from resnet_jax.data.class_groups import split_name
from resnet_jax.evaluation import class_scores, page, tables
from resnet_jax.evaluation.class_order import order_classes
from resnet_jax.evaluation.class_scores import ClassScore, ConfusedPair
from resnet_jax.evaluation.confusion import SavedConfusion, load_confusion
from resnet_jax.evaluation.figures import style
from resnet_jax.evaluation.figures.confusion_history import draw_confusion_history
from resnet_jax.evaluation.figures.confusion_matrix import draw_confusion_matrix
from resnet_jax.evaluation.figures.machine import draw_machine
from resnet_jax.evaluation.figures.progress import draw_progress
from resnet_jax.evaluation.page import Number
from resnet_jax.types import InputError
from resnet_jax.workdir import Workdir

NUM_LISTED = 20
"""Rows of the tables of pairs, worst and best classes."""


@dataclasses.dataclass(frozen=True)
class Record:
    """What a run has left, read and checked.

    Attributes:
      config: as run.
      environment: `environment.json`.
      class_names: as many as the network has outputs.
      metrics: `metrics.csv`, at least one row.
      machine: `machine.csv`, without columns where there is none.
      evaluations: whose confusion was saved, oldest first.
    """

    config: ConfigDict
    environment: dict
    class_names: Sequence[str]
    metrics: tables.Table
    machine: tables.Table
    evaluations: Sequence[SavedConfusion]

    @property
    def title(self) -> str:
        """What was trained on what."""
        data = self.config.data
        return f'ResNet-{self.config.model.depth} on {data.name if data.name else data.source}'


def write_report(run: Workdir, order: str = 'index') -> Path:
    """Writes the folder `report` of a run, and returns its page.

    Nothing is evaluated again, and the run may be going on.

    Args:
      run: the folder of a run with at least one evaluation.
      order: of the classes in the confusion matrices, 'index' or 'similarity' (in the last one).

    Raises:
      InputError: for a folder without a run or an evaluation, and for files that are damaged.
    """
    record = read_record(run)
    files, progress = {}, _draw_themes(draw_progress, record.metrics, record.title)
    files['progress.png'] = progress['light']
    sections = [_describe_progress(progress)]
    if record.evaluations:
        last = record.evaluations[-1]
        how = {
            'title': f'{record.title}: {min(5, last.counts.num_classes)} predictions for each of '
            f'{last.counts.num_examples:,} images',
            'names': record.class_names,
            'order': order_classes(last.counts, order),
        }
        files['confusion.png'] = draw_confusion_matrix(last, **how)
        files['confusion.gif'] = draw_confusion_history(record.evaluations, **how)
        pairs = class_scores.find_confused_pairs(last.counts)
        files['confused_pairs.csv'] = _write_pairs(pairs, record.class_names).encode()
        sections += _describe_confusion(files, record, order)
        sections += _list_classes(last, pairs, record.class_names)
    if record.machine:
        machine = _draw_themes(draw_machine, record.machine, record.title)
        files['machine.png'] = machine['light']
        sections.append(_describe_machine(machine))
    sections += _describe_run(record)
    subtitle = f'{run.path.name}, a run of resnet_jax; {len(record.metrics["step"])} evaluations'
    html = page.render_page(record.title, subtitle, _choose_tiles(record), sections)
    files['index.html'] = html.encode()
    for name, data in files.items():
        workdir.write_bytes(run.report / name, data)
    return run.report / 'index.html'


def read_record(run: Workdir) -> Record:
    """Reads what the report is made from.

    Raises:
      InputError: when it is not there or damaged.
    """
    config = run.read_config()
    metrics = tables.read_metrics(run)
    if not metrics:
        raise InputError(
            f'{run.path}: expected at least one evaluation in metrics.csv, found none: the first '
            f'is after epoch {config.evaluate_every_epochs}'
        )
    evaluations = [load_confusion(run.confusion_file(step)) for step in run.list_confusion_steps()]
    sizes = {saved.counts.num_classes for saved in evaluations}
    names = list(run.read_class_names())
    if len(sizes) > 1:
        raise InputError(
            f'{run.confusion}: expected counts of one network, found {sorted(sizes)} classes'
        )
    num_classes = sizes.pop() if sizes else len(names)
    names += [f'output {i}' for i in range(len(names), num_classes)]
    return Record(
        config,
        run.read_environment(),
        names[:num_classes],
        metrics,
        tables.read_machine(run),
        evaluations,
    )


def _draw_themes(draw, table: tables.Table, title: str) -> dict[str, bytes]:
    return {name: draw(table, theme, title=title) for name, theme in style.THEMES.items()}


def _choose_tiles(record: Record) -> list[page.Tile]:
    """Returns the headline numbers; the best is what `--checkpoint=best` means."""
    table = record.metrics
    best = max(
        range(len(table['step'])),
        key=lambda i: (table['validation_top5'][i], table['validation_top1'][i], i),
    )
    epoch, done = table['epoch'][best], table['epoch'][-1]
    found = [
        ('Top-5 accuracy', f'{table["validation_top5"][best]:.2%}', f'validation, epoch {epoch:g}'),
        ('Top-1 accuracy', f'{table["validation_top1"][best]:.2%}', f'validation, epoch {epoch:g}'),
        ('Loss', f'{table["validation_loss"][best]:.4f}', f'validation, epoch {epoch:g}'),
        ('Epochs', f'{done:g}', f'of {record.config.num_epochs}; {table["step"][-1]:,.0f} steps'),
        ('Classes', f'{len(record.class_names):,}', record.config.data.name),
        ('Images a second', f'{table["images_per_second"][-1]:,.0f}', 'training, last epoch'),
    ]
    return [page.Tile(*tile) for tile in found]


def _describe_progress(drawn: dict[str, bytes]) -> page.Section:
    picture = page.Picture(
        'Training accuracy and loss are means over the epoch, of augmented images and of weights '
        'that still change; validation is of whole images with the weights at its end.',
        'Line charts of top-5 accuracy, top-1 accuracy, loss and learning rate by epoch, for '
        'training and validation',
        drawn['light'],
        drawn['dark'],
    )
    return page.Section('Progress', pictures=[picture])


def _describe_confusion(
    files: dict[str, bytes], record: Record, order: str
) -> list[page.Section]:
    last = record.evaluations[-1]
    by = 'index' if order == 'index' else 'similarity of their confusion'
    text = (
        f'Each of the {last.counts.num_examples:,} validation images stands in the row of its true '
        'class, once in the column of each of its most probable classes. The diagonal is what is '
        f'right. Classes are in the order of their {by}; the scale is logarithmic.'
    )
    still = page.Picture(
        f'Epoch {last.epoch:g}.',
        f'Confusion matrix at epoch {last.epoch:g}, true classes by predicted classes, bright on '
        f'dark; {last.counts.accuracy(5):.2%} of the images are on the diagonal',
        files['confusion.png'],
    )
    moving = page.Picture(
        f'All {len(record.evaluations)} evaluations, on one scale.',
        'The same matrix at each evaluation, one after the other: '
        + ', '.join(
            f'epoch {saved.epoch:g} {saved.counts.accuracy(5):.1%}' for saved in record.evaluations
        ),
        files['confusion.gif'],
        still=files['confusion.png'],
    )
    return [
        page.Section('Confusion', text, [still]),
        page.Section('Confusion, epoch by epoch', pictures=[moving]),
    ]


def _list_classes(
    last: SavedConfusion, pairs: Sequence[ConfusedPair], names: Sequence[str]
) -> list[page.Section]:
    """Returns the tables of pairs, of the worst and best classes, and of all."""
    scores = class_scores.score_classes(last.counts)
    worst, best = class_scores.find_worst_and_best(scores, NUM_LISTED)
    header = ('id', 'class', 'top-5', 'top-1', 'images', 'most often taken for', 'times')
    listed = [
        page.Table(f'The {len(some)} {which} classes', header, [_row(one, names) for one in some])
        for which, some in (('worst', worst), ('best', best))
    ]
    pair_rows = [
        [
            *split_name(names[pair.true]),
            *split_name(names[pair.predicted]),
            Number(pair.top1_count, f'{pair.top1_count}'),
            Number(pair.top1_count / pair.num_examples, f'{pair.top1_count / pair.num_examples:.1%}'),
            Number(pair.top5_count, f'{pair.top5_count}'),
        ]
        for pair in pairs[:NUM_LISTED]
    ]
    pair_header = ('true id', 'true class', 'predicted id', 'predicted class')
    pair_header += ('times first', 'of its images', 'times in five')
    caption = f'The {len(pair_rows)} most confused pairs of {len(pairs):,}'
    every = page.Table(
        f'All {len(scores):,} classes', header, [_row(one, names) for one in scores], key='classes'
    )
    where = f'On the validation images, after epoch {last.epoch:g}.'
    return [
        page.Section(
            'Most confused pairs',
            f'{where} All are in confused_pairs.csv.',
            tables=[page.Table(caption, pair_header, pair_rows)],
        ),
        page.Section('Worst and best classes', f'{where} By top-5, then top-1.', tables=listed),
        page.Section('All classes', f'{where} Click a heading to sort.', tables=[every]),
    ]


def _row(score: ClassScore, names: Sequence[str]) -> list[page.Cell]:
    other = names[score.taken_for] if score.taken_for >= 0 else ''
    return [
        *split_name(names[score.index]),
        Number(score.top5, f'{score.top5:.1%}'),
        Number(score.top1, f'{score.top1:.1%}'),
        Number(score.num_examples, f'{score.num_examples:,}'),
        other,
        Number(score.taken_for_count, f'{score.taken_for_count:,}'),
    ]


def _describe_machine(drawn: dict[str, bytes]) -> page.Section:
    picture = page.Picture(
        'Over the time since the first step; evaluations and checkpoints show as gaps or dips.',
        'Line charts of what the devices and the host did while training',
        drawn['light'],
        drawn['dark'],
    )
    return page.Section('Machine', pictures=[picture])


def _describe_run(record: Record) -> list[page.Section]:
    config = base_config.flatten(record.config)
    environment = {
        name: ', '.join(f'{key} {part}' for key, part in value.items())
        if isinstance(value, dict)
        else ', '.join(map(str, value))
        if isinstance(value, list)
        else value
        for name, value in record.environment.items()
    }
    found = [page.list_fields('config.json', config)]
    if environment:
        found.append(page.list_fields('environment.json', environment))
    return [page.Section('Config and environment', tables=found)]


def _write_pairs(pairs: Sequence[ConfusedPair], names: Sequence[str]) -> str:
    """Returns `confused_pairs.csv`: every pair with a first prediction, the most frequent first."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(
        ('true_id', 'predicted_id', 'true_name', 'predicted_name', 'true_index', 'predicted_index')
        + ('top1_count', 'top5_count', 'num_true_examples')
    )
    for pair in pairs:
        true, predicted = split_name(names[pair.true]), split_name(names[pair.predicted])
        writer.writerow((true[0], predicted[0], true[1], predicted[1], *pair))
    return text.getvalue()
