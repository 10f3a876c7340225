"""The sections of the report's page."""

from collections.abc import Sequence

from resnet_jax.config import schema
from resnet_jax.data.class_names import split_name
from resnet_jax.evaluation.confusion_files import SavedConfusion
from resnet_jax.reports import class_scores, page
from resnet_jax.reports.class_scores import ClassScore
from resnet_jax.reports.confused_pairs import ConfusedPair
from resnet_jax.reports.figures.confusion_matrix import choose_top_k
from resnet_jax.reports.page import Number
from resnet_jax.reports.run_results import RunResults

NUM_LISTED = 20
"""Rows of the tables of pairs, worst and best classes."""


def describe_classes(
    last: SavedConfusion, pairs: Sequence[ConfusedPair], names: Sequence[str]
) -> list[page.Section]:
    """Returns the tables of confused pairs, of the worst and best classes, and of all.

    Args:
      last: an evaluation.
      pairs: `find_confused_pairs` in it.
      names: of the classes, in index order.
    """
    scores = class_scores.score_classes(last.counts)
    worst, best = class_scores.find_worst_and_best(scores, NUM_LISTED)
    listed = [
        _list_classes(f'The {len(some)} {which} classes', some, names)
        for which, some in (('worst', worst), ('best', best))
    ]
    every = _list_classes(f'All {len(scores):,} classes', scores, names, key='classes')
    where = f'On the validation images, after epoch {last.epoch:g}.'
    return [
        page.Section(
            'Most confused pairs',
            f'{where} All are in confused_pairs.csv.',
            tables=[_list_pairs(pairs, names)],
        ),
        page.Section('Worst and best classes', f'{where} By top-5, then top-1.', tables=listed),
        page.Section('All classes', f'{where} Click a heading to sort.', tables=[every]),
    ]


def _list_pairs(pairs: Sequence[ConfusedPair], names: Sequence[str]) -> page.Table:
    """Returns the first pairs."""
    rows = [
        [
            *_name_class(pair.true, names),
            *_name_class(pair.predicted, names),
            Number(pair.top1_count, f'{pair.top1_count:,}'),
            Number(pair.top1_count, f'{pair.top1_count / pair.num_examples:.1%}'),
            Number(pair.top5_count, f'{pair.top5_count:,}'),
        ]
        for pair in pairs[:NUM_LISTED]
    ]
    header = [f'{which} {word}' for which in ('true', 'predicted') for word in _name_columns(names)]
    header += ['times first', 'of its images', 'times in five']
    return page.Table(f'The {len(rows)} most confused pairs, of {len(pairs):,}', header, rows)


def _list_classes(
    caption: str, scores: Sequence[ClassScore], names: Sequence[str], key: str = ''
) -> page.Table:
    rows = [
        [
            *_name_class(score.index, names),
            Number(score.top5, f'{score.top5:.1%}'),
            Number(score.top1, f'{score.top1:.1%}'),
            names[score.taken_for] if score.taken_for_count else '',
            Number(score.taken_for_count, f'{score.taken_for_count:,}'),
            Number(score.num_examples, f'{score.num_examples:,}'),
        ]
        for score in scores
    ]
    header = [*_name_columns(names), 'top-5', 'top-1', 'most often taken for', 'times', 'images']
    return page.Table(caption, header, rows, key)


def _name_columns(names: Sequence[str]) -> list[str]:
    """Returns the headings of the columns that name a class; ids only where classes have some."""
    return ['id', 'class'] if split_name(names[0])[0] != names[0] else ['class']


def _name_class(index: int, names: Sequence[str]) -> list[str]:
    return list(split_name(names[index])) if len(_name_columns(names)) == 2 else [names[index]]


def choose_tiles(record: RunResults) -> list[page.Tile]:
    """Returns the headline numbers; the best is what `--checkpoint=best` means."""
    table = record.metrics
    best = max(
        range(len(table['step'])),
        key=lambda i: (table['validation_top5'][i], table['validation_top1'][i], i),
    )
    epoch, done = table['epoch'][best], table['epoch'][-1]
    speed = table['images_per_second'][-1]
    found = [
        ('Top-5 accuracy', f'{table["validation_top5"][best]:.2%}', f'validation, epoch {epoch:g}'),
        ('Top-1 accuracy', f'{table["validation_top1"][best]:.2%}', f'validation, epoch {epoch:g}'),
        ('Loss', f'{table["validation_loss"][best]:.4f}', f'validation, epoch {epoch:g}'),
        ('Epochs', f'{done:g}', f'of {record.config.num_epochs}; {table["step"][-1]:,.0f} steps'),
        ('Classes', f'{len(record.class_names):,}', record.config.data.name),
        ('Images a second', f'{speed:,.0f}' if speed > 0 else '–', 'training, last epoch'),
    ]
    return [page.Tile(*tile) for tile in found]


def describe_progress(drawn: dict[str, bytes]) -> page.Section:
    picture = page.Picture(
        'Training accuracy and loss are means over the epoch, of augmented images and of weights '
        'that still change; validation is of whole images with the weights at its end.',
        'Line charts of top-5 accuracy, top-1 accuracy, loss and learning rate by epoch, for '
        'training and validation',
        drawn['light'],
        drawn['dark'],
    )
    return page.Section('Progress', pictures=[picture])


def describe_confusion(
    files: dict[str, bytes], record: RunResults, order: str
) -> list[page.Section]:
    last = record.evaluations[-1]
    columns = 'once in the column of each of the five classes that are most probable'
    if choose_top_k(last.counts.num_classes) == 1:
        columns = 'in the column of the class that is most probable'
    by = 'index' if order == 'index' else 'similarity of their confusion'
    text = (
        f'Each of the {last.counts.num_examples:,} validation images stands in the row of its true '
        f'class, {columns}. The diagonal is what is right. Classes are in the order of their {by}; '
        'the scale is logarithmic.'
    )
    still = page.Picture(
        f'Epoch {last.epoch:g}.',
        f'Confusion matrix at epoch {last.epoch:g}, true classes by predicted classes, bright on '
        f'dark; top-5 accuracy {last.counts.accuracy(5):.2%}, top-1 {last.counts.accuracy(1):.2%}',
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


def describe_machine(drawn: dict[str, bytes]) -> page.Section:
    picture = page.Picture(
        'Over the time since the first step; evaluations and checkpoints show as gaps or dips.',
        'Line charts of what the devices and the host did while training',
        drawn['light'],
        drawn['dark'],
    )
    return page.Section('Machine', pictures=[picture])


def describe_run(record: RunResults) -> page.Section:
    found = [page.list_fields('config.json', schema.flatten(record.config))]
    if record.environment:
        fields = {name: _to_words(value) for name, value in record.environment.items()}
        found.append(page.list_fields('environment.json', fields))
    return page.Section('Config and environment', tables=found, side_by_side=True)


def _to_words(value: object) -> str:
    """Returns a JSON value in a line."""
    if isinstance(value, dict):
        return ', '.join(f'{key} {part}' for key, part in value.items())
    return ', '.join(map(str, value)) if isinstance(value, list) else str(value)
