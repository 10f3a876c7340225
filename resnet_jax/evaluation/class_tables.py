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
    has_ids = any(split_name(name)[0] != name for name in names)

    def name_class(index: int) -> list[str]:
        return list(split_name(names[index])) if has_ids else [names[index]]

    def describe(score: ClassScore) -> list[page.Cell]:
        accuracies = (
            Number(score.top5, f'{score.top5:.1%}'),
            Number(score.top1, f'{score.top1:.1%}'),
        )
        taken_for = names[score.taken_for] if score.taken_for_count else ''
        return [*name_class(score.index), *accuracies, taken_for]

    first = ['id', 'class'] if has_ids else ['class']
    header = [*first, 'top-5', 'top-1', 'most often taken for']
    listed = [
        page.Table(f'The {len(some)} {which} classes', header, [describe(one) for one in some])
        for which, some in (('worst', worst), ('best', best))
    ]
    pair_rows = [
        [
            *name_class(pair.true),
            *name_class(pair.predicted),
            Number(pair.top1_count, f'{pair.top1_count:,}'),
            Number(pair.top1_count, f'{pair.top1_count / pair.num_examples:.1%}'),
            Number(pair.top5_count, f'{pair.top5_count:,}'),
        ]
        for pair in pairs[:NUM_LISTED]
    ]
    pair_header = [f'{which} {word}' for which in ('true', 'predicted') for word in first]
    pair_header += ['times first', 'of its images', 'times in five']
    caption = f'The {len(pair_rows)} most confused pairs of {len(pairs):,}'
    every = page.Table(
        f'All {len(scores):,} classes',
        [*header, 'times', 'images'],
        [
            [
                *describe(score),
                Number(score.taken_for_count, f'{score.taken_for_count:,}'),
                Number(score.num_examples, f'{score.num_examples:,}'),
            ]
            for score in scores
        ],
        key='classes',
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
