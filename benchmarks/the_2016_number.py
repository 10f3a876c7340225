"""Simulation of the top-5 that MXNet's R package reported in 2016 (docs/the-2016-number.md).

    python benchmarks/the_2016_number.py [--seed=0]

It draws 50,000 labels in random order, 50 of each of 1000 classes, as in ImageNet's validation set,
and five predictions for each label under two models:

- `uniform`: the label is among the five predictions of a random share of the examples. This share
  is the true top-5. The other predicted classes are drawn uniformly from all classes.
- `clustered`: the same, but the other predicted classes come from the label's own group of 50
  neighbouring classes, as a network confuses a dog with other dogs.

Then it computes the metric of 2016 in slices of consecutive examples. The last column is the closed
form: each of the other labels of a slice misses all five predicted classes with probability
1 - 5/1000, whatever these classes are, if the order of the labels is random.
"""

import argparse

import numpy as np

from resnet_jax.evaluation.mxnet_r import compute_mxnet_r_top5

NUM_CLASSES, NUM_EXAMPLES, TOP_K = 1000, 50_000, 5
GROUP = 50
"""Number of classes in a group of the model `clustered`."""

SLICES = {36: 'batch 144 on 4 GPUs', 128: 'batch 512 on 4 GPUs', 144: 'batch 144 on 1 GPU'}
TRUE_TOP5 = (0.80, 0.848, 0.885, 0.89, 0.904)
REPORTED = {'validation': 0.9197, 'training': 0.9502}


def draw_predictions(rng, labels, true_top5, model):
    """Returns five different predicted classes for each label, int64 `[NUM_EXAMPLES, 5]`.

    Args:
      rng: random generator of NumPy.
      labels: int64 `[NUM_EXAMPLES]`.
      true_top5: fraction of the examples whose label is among the predictions.
      model: 'uniform' or 'clustered'.
    """
    size = {'uniform': NUM_CLASSES, 'clustered': GROUP}[model]
    first = labels[:, None] // size * size  # first class of the label's group
    predicted = first + (labels[:, None] - first + 1 + _draw_distinct(rng, size - 1)) % size
    hit = rng.permutation(len(labels)) < round(true_top5 * len(labels))
    predicted[hit, 0] = labels[hit]
    return predicted


def _draw_distinct(rng, below):
    """Returns int64 `[NUM_EXAMPLES, 5]`: in each row, five different numbers below a bound."""
    drawn = rng.integers(0, below, (NUM_EXAMPLES, TOP_K))
    while True:
        ordered = np.sort(drawn, axis=1)
        repeated = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
        if not repeated.any():
            return drawn
        drawn[repeated] = rng.integers(0, below, (repeated.sum(), TOP_K))


def closed_form(true_top5, slice_size):
    """Returns the expected reported top-5 for a true top-5, both as fractions."""
    return 1 - (1 - true_top5) * (1 - TOP_K / NUM_CLASSES) ** (slice_size - 1)


def invert(reported, slice_size):
    """Returns the true top-5 for which the closed form gives the reported top-5, as fractions."""
    return 1 - (1 - reported) / (1 - TOP_K / NUM_CLASSES) ** (slice_size - 1)


def simulate(seed):
    """Yields slice size, true top-5, and the reported top-5 under both models."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(NUM_CLASSES), NUM_EXAMPLES // NUM_CLASSES))
    mask = np.ones(len(labels), bool)
    for true_top5 in TRUE_TOP5:
        drawn = {
            model: draw_predictions(rng, labels, true_top5, model)
            for model in ('uniform', 'clustered')
        }
        for slice_size in SLICES:
            yield (
                slice_size,
                true_top5,
                *(
                    compute_mxnet_r_top5(labels, classes, mask, slice_size)
                    for classes in drawn.values()
                ),
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seed', type=int, default=0)
    print('slice  true top-5   reported: uniform  clustered  closed form')
    for slice_size, true_top5, *reported in sorted(simulate(parser.parse_args().seed)):
        columns = ''.join(
            f'{100 * x:11.2f}' for x in (*reported, closed_form(true_top5, slice_size))
        )
        print(f'{slice_size:5}{100 * true_top5:12.2f}       {columns}')
    print('\nTrue top-5 for the reported top-5, by the closed form:')
    for split, reported in REPORTED.items():
        for slice_size, setting in SLICES.items():
            print(
                f'  {split:10} {100 * reported:.2f} reported, slices of {slice_size:3} '
                f'({setting}): {100 * invert(reported, slice_size):.1f}'
            )


if __name__ == '__main__':
    main()
