"""Report of a run: figures, a table of confused pairs, and one HTML page with everything."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from resnet_jax.errors import InputError
from resnet_jax.reports import page
from resnet_jax.reports.class_order import order_classes
from resnet_jax.reports.class_sections import describe_classes
from resnet_jax.reports.columns import Columns
from resnet_jax.reports.confused_pairs import find_confused_pairs, write_pairs
from resnet_jax.reports.figures import style
from resnet_jax.reports.figures.confusion_animation import draw_confusion_history
from resnet_jax.reports.figures.confusion_matrix import choose_top_k, draw_confusion_matrix
from resnet_jax.reports.figures.machine import choose_panels, draw_machine
from resnet_jax.reports.figures.progress import draw_progress
from resnet_jax.reports.run_results import RunResults, read_results
from resnet_jax.reports.sections import (
    describe_confusion,
    describe_machine,
    describe_progress,
    describe_run,
)
from resnet_jax.reports.tiles import choose_tiles
from resnet_jax.storage.files import make_folder, require_regular, write_bytes
from resnet_jax.storage.workdir import Workdir

FILES = (
    'progress.png',
    'confusion.png',
    'confusion.gif',
    'confused_pairs.csv',
    'machine.png',
    'index.html',
)
"""Names of the files of a complete report."""


def write_report(run: Workdir, order: str = 'index') -> Path:
    """Writes the folder `report` of a run, and returns the path of its page.

    Nothing is evaluated again. The run can still be in progress.

    Args:
      run: folder of a run with at least one evaluation.
      order: order of the classes in the confusion matrices: 'index', or 'similarity' in the last
        evaluation.

    Raises:
      InputError: if the folder has no run or no evaluation yet, if a file is damaged, or if
        `report` is a link or one of its files is not a regular file.
      RunFailed: if the report cannot be written.
    """
    results = read_results(run)
    _prepare_folder(run.report)
    files: dict[str, bytes] = {}
    sections = []
    if results.last_epoch:
        until = f'epoch {results.last_epoch:g} of {results.config.num_epochs}'
        title = f'{results.title} · {until}'
        charts = _draw_charts(draw_progress, results.metrics, title, leading=results.leading)
        files['progress.png'] = charts['image']
        sections.append(describe_progress(charts, until))
    if results.evaluations:
        files |= _draw_confusion(results, order)
        sections += describe_confusion(files, results, order)
        last = results.evaluations[-1]
        pairs = find_confused_pairs(last.counts)
        files['confused_pairs.csv'] = write_pairs(pairs, results.class_names).encode()
        sections += describe_classes(last, pairs, results.class_names, results.leading)
    if choose_panels(results.machine):
        until = f'epoch {results.last_machine_epoch:.3g}'
        charts = _draw_charts(draw_machine, results.machine, f'{results.title} · up to {until}')
        files['machine.png'] = charts['image']
        sections.append(describe_machine(charts, until))
    sections.append(describe_run(results))
    number = len(results.metrics['step'])
    subtitle = f'{run.path.resolve().name}, a run of resnet_jax; evaluations: {number}'
    html = page.render_page(results.title, subtitle, choose_tiles(results), sections)
    files['index.html'] = html.encode(errors='replace')  # of names that are not UTF-8
    for name, data in files.items():
        write_bytes(run.report / name, data)
    return run.report / 'index.html'


def _prepare_folder(folder: Path) -> None:
    """Creates the folder of the report, before the figures are drawn, which takes time."""
    if folder.is_symlink():
        raise InputError(
            f'{folder}: expected a folder, found a link to {folder.readlink()}, whose files the '
            'report would replace; remove the link'
        )
    make_folder(folder)
    for name in FILES:
        require_regular(folder / name)


def _draw_charts(
    draw: Callable[..., bytes], columns: Columns, title: str, **options: str
) -> dict[str, bytes]:
    """Returns the versions of a chart, by the name of the attribute of `page.Picture`."""
    return {
        attribute: draw(columns, style.THEMES[theme], title=title, narrow=narrow, **options)
        for attribute, theme, narrow in (
            ('image', 'light', False),
            ('dark', 'dark', False),
            ('narrow', 'light', True),
            ('narrow_dark', 'dark', True),
        )
    }


def _draw_confusion(results: RunResults, order: str) -> dict[str, bytes]:
    """Returns the matrix of the last evaluation and an animation of all, by file name.

    Both show the classes in their order in the last evaluation.
    """
    last = results.evaluations[-1].counts
    shown = 'five predictions' if choose_top_k(last.num_classes) == 5 else 'the first prediction'
    options: dict[str, Any] = {
        'title': f'{results.title}: {shown} for each of {last.num_examples:,} images',
        'names': results.class_names,
        'order': order_classes(last, order),
        'leading': results.leading,
    }
    return {
        'confusion.png': draw_confusion_matrix(results.evaluations[-1], **options),
        'confusion.gif': draw_confusion_history(results.evaluations, **options),
    }
