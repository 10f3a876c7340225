"""All that a run has to show: pictures, a table of confused pairs, and one page of everything."""

from collections.abc import Callable
from pathlib import Path

from resnet_jax import base_config, workdir
from resnet_jax.evaluation import class_scores, class_tables, page
from resnet_jax.evaluation.class_order import order_classes
from resnet_jax.evaluation.figures import style
from resnet_jax.evaluation.figures.confusion_history import draw_confusion_history
from resnet_jax.evaluation.figures.confusion_matrix import draw_confusion_matrix
from resnet_jax.evaluation.figures.machine import choose_panels, draw_machine
from resnet_jax.evaluation.figures.matrix import choose_top_k
from resnet_jax.evaluation.figures.progress import draw_progress
from resnet_jax.evaluation.record import Record, read_record
from resnet_jax.evaluation.tables import Table
from resnet_jax.workdir import Workdir


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
        files |= _draw_confusion(record, order)
        sections += _describe_confusion(files, record, order)
        last = record.evaluations[-1]
        pairs = class_scores.find_confused_pairs(last.counts)
        files['confused_pairs.csv'] = class_tables.write_pairs(pairs, record.class_names).encode()
        sections += class_tables.describe_classes(last, pairs, record.class_names)
    if choose_panels(record.machine):
        machine = _draw_themes(draw_machine, record.machine, record.title)
        files['machine.png'] = machine['light']
        sections.append(_describe_machine(machine))
    sections.append(_describe_run(record))
    number = len(record.metrics['step'])
    subtitle = f'{run.path.resolve().name}, a run of resnet_jax; evaluations: {number}'
    html = page.render_page(record.title, subtitle, _choose_tiles(record), sections)
    files['index.html'] = html.encode()
    workdir.make_folder(run.report)
    for name, data in files.items():
        workdir.write_bytes(run.report / name, data)
    return run.report / 'index.html'


def _draw_themes(draw: Callable[..., bytes], table: Table, title: str) -> dict[str, bytes]:
    """Returns the chart for light and for dark pages."""
    return {name: draw(table, theme, title=title) for name, theme in style.THEMES.items()}


def _draw_confusion(record: Record, order: str) -> dict[str, bytes]:
    """Returns the last confusion and all of them, with the classes in the order of the last."""
    last = record.evaluations[-1].counts
    drawn = 'five predictions' if choose_top_k(last.num_classes) == 5 else 'the first prediction'
    how = {
        'title': f'{record.title}: {drawn} for each of {last.num_examples:,} images',
        'names': record.class_names,
        'order': order_classes(last, order),
    }
    return {
        'confusion.png': draw_confusion_matrix(record.evaluations[-1], **how),
        'confusion.gif': draw_confusion_history(record.evaluations, **how),
    }


def _choose_tiles(record: Record) -> list[page.Tile]:
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


def _describe_confusion(files: dict[str, bytes], record: Record, order: str) -> list[page.Section]:
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


def _describe_machine(drawn: dict[str, bytes]) -> page.Section:
    picture = page.Picture(
        'Over the time since the first step; evaluations and checkpoints show as gaps or dips.',
        'Line charts of what the devices and the host did while training',
        drawn['light'],
        drawn['dark'],
    )
    return page.Section('Machine', pictures=[picture])


def _describe_run(record: Record) -> page.Section:
    found = [page.list_fields('config.json', base_config.flatten(record.config))]
    if record.environment:
        fields = {name: _to_words(value) for name, value in record.environment.items()}
        found.append(page.list_fields('environment.json', fields))
    return page.Section('Config and environment', tables=found, side_by_side=True)


def _to_words(value: object) -> str:
    """Returns a JSON value in a line."""
    if isinstance(value, dict):
        return ', '.join(f'{key} {part}' for key, part in value.items())
    return ', '.join(map(str, value)) if isinstance(value, list) else str(value)
