"""Report of a run: figures, a table of confused pairs, and one HTML page with everything."""

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
    describe_classes,
    describe_confusion,
    describe_machine,
    describe_progress,
    describe_run,
)
from resnet_jax.storage.files import make_folder, write_bytes
from resnet_jax.storage.workdir import Workdir


def write_report(run: Workdir, order: str = 'index') -> Path:
    """Writes the folder `report` of a run, and returns the path of its page.

    Nothing is evaluated again. The run can still be in progress.

    Args:
      run: folder of a run with at least one evaluation.
      order: order of the classes in the confusion matrices: 'index', or 'similarity' in the last
        evaluation.

    Raises:
      InputError: if the folder has no run or no evaluation yet, or if a file is damaged.
      RunFailed: if the report cannot be written.
    """
    results = read_results(run)
    progress = _draw_themes(draw_progress, results.metrics, results.title)
    files = {'progress.png': progress['light']}
    sections = [describe_progress(progress)]
    if results.evaluations:
        files |= _draw_confusion(results, order)
        sections += describe_confusion(files, results, order)
        last = results.evaluations[-1]
        pairs = find_confused_pairs(last.counts)
        files['confused_pairs.csv'] = write_pairs(pairs, results.class_names).encode()
        sections += describe_classes(last, pairs, results.class_names)
    if choose_panels(results.machine):
        machine = _draw_themes(draw_machine, results.machine, results.title)
        files['machine.png'] = machine['light']
        sections.append(describe_machine(machine))
    sections.append(describe_run(results))
    number = len(results.metrics['step'])
    subtitle = f'{run.path.resolve().name}, a run of resnet_jax; evaluations: {number}'
    html = page.render_page(results.title, subtitle, choose_tiles(results), sections)
    files['index.html'] = html.encode()
    make_folder(run.report)
    for name, data in files.items():
        write_bytes(run.report / name, data)
    return run.report / 'index.html'


def _draw_themes(draw: Callable[..., bytes], columns: Columns, title: str) -> dict[str, bytes]:
    """Returns a chart in the colours of each theme, by the name of the theme."""
    return {name: draw(columns, theme, title=title) for name, theme in style.THEMES.items()}


def _draw_confusion(results: RunResults, order: str) -> dict[str, bytes]:
    """Returns the matrix of the last evaluation and an animation of all, by file name.

    Both show the classes in their order in the last evaluation.
    """
    last = results.evaluations[-1].counts
    shown = 'five predictions' if choose_top_k(last.num_classes) == 5 else 'the first prediction'
    title = f'{results.title}: {shown} for each of {last.num_examples:,} images'
    names, classes = results.class_names, order_classes(last, order)
    return {
        'confusion.png': draw_confusion_matrix(
            results.evaluations[-1], title=title, names=names, order=classes
        ),
        'confusion.gif': draw_confusion_history(
            results.evaluations, title=title, names=names, order=classes
        ),
    }
