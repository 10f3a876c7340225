"""Single classes and pairs of them as tables, for the page and as CSV."""

import csv
import io
from collections.abc import Sequence

from resnet_jax.data.class_groups import split_name
from resnet_jax.evaluation import class_scores, page
from resnet_jax.evaluation.class_scores import ClassScore, ConfusedPair
from resnet_jax.evaluation.confusion import SavedConfusion
from resnet_jax.evaluation.page import Number

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


def write_pairs(pairs: Sequence[ConfusedPair], names: Sequence[str]) -> str:
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
