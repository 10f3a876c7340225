"""All that a run has to show: pictures, a table of confused pairs, and one page of everything."""

from collections.abc import Callable
from pathlib import Path

from resnet_jax.reports import page
from resnet_jax.reports.class_order import order_classes
from resnet_jax.reports.columns import Columns
from resnet_jax.reports.confused_pairs import find_confused_pairs, write_pairs
from resnet_jax.reports.figures import style
from resnet_jax.reports.figures.confusion_animation import draw_confusion_history
from resnet_jax.reports.figures.confusion_matrix import choose_top_k, draw_confusion_matrix
from resnet_jax.reports.figures.machine import choose_panels, draw_machine
from resnet_jax.reports.figures.progress import draw_progress
from resnet_jax.reports.run_results import RunResults, read_results
from resnet_jax.reports.sections import (
    choose_tiles,
    describe_confusion,
    describe_machine,
    describe_progress,
    describe_run,
)
from resnet_jax.storage.files import make_folder, write_bytes
from resnet_jax.storage.workdir import Workdir


def write_report(run: Workdir, order: str = 'index') -> Path:
    """Writes the folder `report` of a run, and returns its page.

    Nothing is evaluated again, and the run may be going on.

    Args:
      run: the folder of a run with at least one evaluation.
      order: of the classes in the confusion matrices, 'index' or 'similarity' (in the last one).

    Raises:
      InputError: for a folder without a run or an evaluation, and for files that are damaged.
    """
    record = read_results(run)
    files, progress = {}, _draw_themes(draw_progress, record.metrics, record.title)
    files['progress.png'] = progress['light']
    sections = [describe_progress(progress)]
    if record.evaluations:
        files |= _draw_confusion(record, order)
        sections += describe_confusion(files, record, order)
        last = record.evaluations[-1]
        pairs = find_confused_pairs(last.counts)
        files['confused_pairs.csv'] = write_pairs(pairs, record.class_names).encode()
        sections += sections.describe_classes(last, pairs, record.class_names)
    if choose_panels(record.machine):
        machine = _draw_themes(draw_machine, record.machine, record.title)
        files['machine.png'] = machine['light']
        sections.append(describe_machine(machine))
    sections.append(describe_run(record))
    number = len(record.metrics['step'])
    subtitle = f'{run.path.resolve().name}, a run of resnet_jax; evaluations: {number}'
    html = page.render_page(record.title, subtitle, choose_tiles(record), sections)
    files['index.html'] = html.encode()
    make_folder(run.report)
    for name, data in files.items():
        write_bytes(run.report / name, data)
    return run.report / 'index.html'


def _draw_themes(draw: Callable[..., bytes], table: Columns, title: str) -> dict[str, bytes]:
    """Returns the chart for light and for dark pages."""
    return {name: draw(table, theme, title=title) for name, theme in style.THEMES.items()}


def _draw_confusion(record: RunResults, order: str) -> dict[str, bytes]:
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
