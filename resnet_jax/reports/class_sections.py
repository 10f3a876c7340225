"""Sections of the report's page about classes: confused pairs, worst, best and all classes."""

from collections.abc import Sequence

from resnet_jax.data.class_names import split_name
from resnet_jax.evaluation.confusion_files import SavedConfusion
from resnet_jax.reports import class_scores, page
from resnet_jax.reports.class_scores import ClassScore
from resnet_jax.reports.confused_pairs import ConfusedPair
from resnet_jax.reports.figures.confusion_matrix import name_epoch
from resnet_jax.reports.page import Number

NUM_LISTED = 20
"""Most rows in the tables of confused pairs, of the worst and of the best classes."""


def describe_classes(
    last: SavedConfusion, pairs: Sequence[ConfusedPair], names: Sequence[str], leading: str
) -> list[page.Section]:
    """Returns the sections of confused pairs, of the worst and best classes, and of all classes.

    Args:
      last: confusion of the last evaluation.
      pairs: its confused pairs, from `find_confused_pairs`.
      names: names of the classes, in index order.
      leading: accuracy by which classes are sorted first, 'top1' or 'top5'.
    """
    scores = class_scores.score_classes(last.counts)
    worst, best = class_scores.find_worst_and_best(scores, leading, NUM_LISTED)
    tables = [
        _list_classes(f'{caption} ({len(chosen):,})', chosen, names, leading, key)
        for caption, chosen, key in (
            ('Worst classes', worst, ''),
            ('Best classes', best, ''),
            ('All classes', scores, 'classes'),
        )
    ]
    measured_on = f'Measured on the validation images, {name_epoch(last.epoch)}.'
    first, second = ('top-1', 'top-5') if leading == 'top1' else ('top-5', 'top-1')
    return [
        page.Section(
            'Most confused pairs',
            f'{measured_on} All pairs are in confused_pairs.csv.',
            tables=[_list_pairs(pairs, names)],
        ),
        page.Section(
            'Worst and best classes',
            f'{measured_on} Sorted by {first} accuracy, then by {second} accuracy.',
            tables=tables[:2],
        ),
        page.Section('All classes', f'{measured_on} Click a heading to sort.', tables=tables[2:]),
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
    return page.Table(f'Most confused pairs ({len(rows)} of {len(pairs):,})', header, rows)


def _list_classes(
    caption: str, scores: Sequence[ClassScore], names: Sequence[str], leading: str, key: str
) -> page.Table:
    """Returns a table of classes, sortable if it has a key."""
    titles = ['top-1', 'top-5'] if leading == 'top1' else ['top-5', 'top-1']
    header = [*_name_columns(names), *titles, 'most often predicted as', 'times', 'images']
    rows: list[list[str | Number]] = []
    for score in scores:
        accuracies = [Number(value, f'{value:.1%}') for value in (score.top5, score.top1)]
        rows.append(
            [
                *_name_class(score.index, names),
                *(accuracies[::-1] if leading == 'top1' else accuracies),
                names[score.taken_for] if score.taken_for_count else '',
                Number(score.taken_for_count, f'{score.taken_for_count:,}'),
                Number(score.num_examples, f'{score.num_examples:,}'),
            ]
        )
    return page.Table(caption, header, rows, key)


def _name_columns(names: Sequence[str]) -> list[str]:
    """Returns the headings of the columns that name a class: an id only if classes have ids."""
    return ['id', 'class'] if split_name(names[0])[0] != names[0] else ['class']


def _name_class(index: int, names: Sequence[str]) -> list[str]:
    """Returns the cells of the columns that name a class."""
    return list(split_name(names[index])) if len(_name_columns(names)) == 2 else [names[index]]
