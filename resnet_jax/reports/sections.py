"""Sections of the report's page: captions, paragraphs and tables."""

from collections.abc import Mapping

from resnet_jax.config import schema
from resnet_jax.reports import page
from resnet_jax.reports.figures.confusion_matrix import choose_top_k, name_epoch
from resnet_jax.reports.run_results import RunResults
from resnet_jax.reports.shell import write_command


def describe_progress(charts: Mapping[str, bytes], until: str) -> page.Section:
    """Returns the section with the chart of the metrics.

    Args:
      charts: versions of the chart, by the name of the attribute of `page.Picture`.
      until: epoch of the last evaluation, as in 'epoch 12 of 20'.
    """
    picture = page.Picture(
        f'Up to {until}. Training accuracy and loss are means over the steps of an epoch: the '
        'images are augmented and the weights still change. Validation accuracy and loss are '
        'measured after the epoch, on images without augmentation.',
        'Line charts of top-5 accuracy, top-1 accuracy, loss and learning rate by epoch, for '
        f'training and validation, up to {until}',
        **charts,
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
    when = name_epoch(last.epoch)
    still = page.Picture(
        f'{when.capitalize()}.',
        f'Confusion matrix, {when}, true classes in rows, predicted classes in columns, bright on '
        f'dark; top-5 accuracy {last.counts.accuracy(5):.2%}, '
        f'top-1 accuracy {last.counts.accuracy(1):.2%}',
        files['confusion.png'],
    )
    k = int(results.leading[3:])
    animation = page.Picture(
        f'From {name_epoch(results.evaluations[0].epoch)} to {when}; evaluations: '
        f'{len(results.evaluations)}, all on the same colour scale.',
        f'The same matrix for each evaluation in turn, with its top-{k} accuracy: '
        + ', '.join(
            f'{name_epoch(saved.epoch)} {saved.counts.accuracy(k):.1%}'
            for saved in results.evaluations
        ),
        files['confusion.gif'],
        still=files['confusion.png'],
    )
    return [
        page.Section('Confusion', text, [still]),
        page.Section('Confusion, epoch by epoch', pictures=[animation]),
    ]


def describe_machine(charts: Mapping[str, bytes], until: str) -> page.Section:
    """Returns the section with the charts of the machine.

    Args:
      charts: versions of the charts, by the name of the attribute of `page.Picture`.
      until: epoch of the last row, as in 'epoch 11.8'.
    """
    picture = page.Picture(
        f'Time since the first step, up to {until}. Evaluations and checkpoints appear as gaps or '
        'dips.',
        f'Line charts of the load of the devices and of the host during training, up to {until}',
        **charts,
    )
    return page.Section('Machine', pictures=[picture])


def describe_run(results: RunResults) -> page.Section:
    """Returns the section with the command, and the tables of the config and the environment."""
    tables = [page.list_fields('config.json', schema.flatten(results.config))]
    if results.environment:
        fields = {name: _to_line(value) for name, value in results.environment.items()}
        tables.append(page.list_fields('environment.json', fields))
    command = write_command(results.environment.get('command'))
    return page.Section(
        'Config and environment',
        'The last session was started with this command. A click selects it.' if command else '',
        command=command,
        tables=tables,
        side_by_side=True,
    )


def _to_line(value: object) -> str:
    """Returns a JSON value as one line of text."""
    if isinstance(value, dict):
        return ', '.join(f'{key} {part}' for key, part in value.items())
    return ', '.join(map(str, value)) if isinstance(value, list) else str(value)
