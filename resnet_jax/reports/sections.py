"""Sections of the report's page: captions, paragraphs and tables."""

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
"""Most rows in the tables of confused pairs, of the worst and of the best classes."""


def describe_classes(
    last: SavedConfusion, pairs: Sequence[ConfusedPair], names: Sequence[str]
) -> list[page.Section]:
    """Returns the sections of confused pairs, of the worst and best classes, and of all classes.

    Args:
      last: confusion of the last evaluation.
      pairs: its confused pairs, from `find_confused_pairs`.
      names: names of the classes, in index order.
    """
    scores = class_scores.score_classes(last.counts)
    worst, best = class_scores.find_worst_and_best(scores, NUM_LISTED)
    worst_table = _list_classes(f'The {len(worst)} worst classes', worst, names)
    best_table = _list_classes(f'The {len(best)} best classes', best, names)
    full_table = _list_classes(f'All {len(scores):,} classes', scores, names, key='classes')
    measured_on = f'Measured on the validation images after epoch {last.epoch:g}.'
    return [
        page.Section(
            'Most confused pairs',
            f'{measured_on} All pairs are in confused_pairs.csv.',
            tables=[_list_pairs(pairs, names)],
        ),
        page.Section(
            'Worst and best classes',
            f'{measured_on} Sorted by top-5 accuracy, then by top-1 accuracy.',
            tables=[worst_table, best_table],
        ),
        page.Section('All classes', f'{measured_on} Click a heading to sort.', tables=[full_table]),
    ]


def _list_pairs(pairs: Sequence[ConfusedPair], names: Sequence[str]) -> page.Table:
    """Returns the table of the most confused pairs."""
    rows: list[list[str | Number]] = [
        [
            *_name_class(pair.true, names),
            *_name_class(pair.predicted, names),
            Number(pair.top1_count, f'{pair.top1_count:,}'),
            Number(pair.top1_count, f'{pair.top1_count / pair.num_examples:.1%}'),
            Number(pair.top5_count, f'{pair.top5_count:,}'),
        ]
        for pair in pairs[:NUM_LISTED]
    ]
    header = [f'{role} {word}' for role in ('true', 'predicted') for word in _name_columns(names)]
    header += ['first predictions', 'share of images', 'in the first five']
    return page.Table(f'The {len(rows)} most confused pairs, of {len(pairs):,}', header, rows)


def _list_classes(
    caption: str, scores: Sequence[ClassScore], names: Sequence[str], key: str = ''
) -> page.Table:
    """Returns a table of classes, sortable if it has a key."""
    rows: list[list[str | Number]] = [
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
    header = [
        *_name_columns(names),
        'top-5',
        'top-1',
        'most often predicted as',
        'times',
        'images',
    ]
    return page.Table(caption, header, rows, key)


def _name_columns(names: Sequence[str]) -> list[str]:
    """Returns the headings of the columns that name a class: an id only if classes have ids."""
    return ['id', 'class'] if split_name(names[0])[0] != names[0] else ['class']


def _name_class(index: int, names: Sequence[str]) -> list[str]:
    """Returns the cells of the columns that name a class."""
    return list(split_name(names[index])) if len(_name_columns(names)) == 2 else [names[index]]


def choose_tiles(results: RunResults) -> list[page.Tile]:
    """Returns the headline numbers. Accuracies and loss are those of `--checkpoint=best`."""
    metrics = results.metrics
    top5, top1 = metrics['validation_top5'], metrics['validation_top1']
    best = max(range(len(metrics['step'])), key=lambda i: (top5[i], top1[i], i))
    measured_on = f'validation, epoch {metrics["epoch"][best]:g}'
    num_steps = f'{metrics["step"][-1]:,.0f} steps'
    speed = metrics['images_per_second'][-1]
    return [
        page.Tile('Top-5 accuracy', f'{top5[best]:.2%}', measured_on),
        page.Tile('Top-1 accuracy', f'{top1[best]:.2%}', measured_on),
        page.Tile('Loss', f'{metrics["validation_loss"][best]:.4f}', measured_on),
        page.Tile(
            'Epochs', f'{metrics["epoch"][-1]:g}', f'of {results.config.num_epochs}; {num_steps}'
        ),
        page.Tile('Classes', f'{len(results.class_names):,}', results.config.data.name),
        page.Tile('Images a second', f'{speed:,.0f}' if speed > 0 else '–', 'training, last epoch'),
    ]


def describe_progress(charts: dict[str, bytes]) -> page.Section:
    """Returns the section with the chart of the metrics.

    Args:
      charts: PNG of the chart for each theme, by the name of the theme.
    """
    picture = page.Picture(
        'Training accuracy and loss are means over the steps of an epoch: the images are augmented '
        'and the weights still change. Validation accuracy and loss are measured after the epoch, '
        'on images without augmentation.',
        'Line charts of top-5 accuracy, top-1 accuracy, loss and learning rate by epoch, for '
        'training and validation',
        charts['light'],
        charts['dark'],
    )
    return page.Section('Progress', pictures=[picture])


def describe_confusion(
    files: dict[str, bytes], results: RunResults, order: str
) -> list[page.Section]:
    """Returns the sections with the last confusion matrix and with all of them, animated.

    Args:
      files: content of `confusion.png` and `confusion.gif`, by file name.
      results: results of the run, with at least one evaluation.
      order: order of the classes: 'index' or 'similarity'.
    """
    last = results.evaluations[-1]
    columns = 'once in the column of each of its five most probable classes'
    if choose_top_k(last.counts.num_classes) == 1:
        columns = 'in the column of its most probable class'
    sorting = 'by index' if order == 'index' else 'so that similar classes are neighbours'
    text = (
        f'Each of the {last.counts.num_examples:,} validation images is counted in the row of its '
        f'true class, {columns}. Correct predictions lie on the diagonal. Classes are sorted '
        f'{sorting}. The colour scale is logarithmic.'
    )
    still = page.Picture(
        f'Epoch {last.epoch:g}.',
        f'Confusion matrix after epoch {last.epoch:g}, true classes in rows, predicted classes in '
        f'columns, bright on dark; top-5 accuracy {last.counts.accuracy(5):.2%}, '
        f'top-1 accuracy {last.counts.accuracy(1):.2%}',
        files['confusion.png'],
    )
    animation = page.Picture(
        f'All {len(results.evaluations)} evaluations, on the same colour scale.',
        'The same matrix for each evaluation in turn, with its top-5 accuracy: '
        + ', '.join(
            f'epoch {saved.epoch:g} {saved.counts.accuracy(5):.1%}' for saved in results.evaluations
        ),
        files['confusion.gif'],
        still=files['confusion.png'],
    )
    return [
        page.Section('Confusion', text, [still]),
        page.Section('Confusion, epoch by epoch', pictures=[animation]),
    ]


def describe_machine(charts: dict[str, bytes]) -> page.Section:
    """Returns the section with the charts of the machine.

    Args:
      charts: PNG of the charts for each theme, by the name of the theme.
    """
    picture = page.Picture(
        'Time since the first step. Evaluations and checkpoints appear as gaps or dips.',
        'Line charts of the load of the devices and of the host during training',
        charts['light'],
        charts['dark'],
    )
    return page.Section('Machine', pictures=[picture])


def describe_run(results: RunResults) -> page.Section:
    """Returns the section with the tables of the config and of the environment."""
    tables = [page.list_fields('config.json', schema.flatten(results.config))]
    if results.environment:
        fields = {name: _to_line(value) for name, value in results.environment.items()}
        tables.append(page.list_fields('environment.json', fields))
    return page.Section('Config and environment', tables=tables, side_by_side=True)


def _to_line(value: object) -> str:
    """Returns a JSON value as one line of text."""
    if isinstance(value, dict):
        return ', '.join(f'{key} {part}' for key, part in value.items())
    return ', '.join(map(str, value)) if isinstance(value, list) else str(value)
