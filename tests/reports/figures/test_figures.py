"""Figures of the report: sizes, frames, scales and contents."""

import dataclasses
import io

import numpy as np
import PIL.Image
import pytest
from matplotlib import colors

from resnet_jax.evaluation.confusion import count_confusion
from resnet_jax.evaluation.confusion_files import SavedConfusion
from resnet_jax.reports.figures import (
    class_axes,
    confusion_animation,
    confusion_matrix,
    machine,
    progress,
    style,
)
from resnet_jax.reports.figures.confusion_animation import draw_confusion_history
from resnet_jax.reports.figures.confusion_matrix import draw_confusion_matrix
from resnet_jax.storage.metrics_csv import METRICS_COLUMNS


def count(pairs, num_classes):
    """Returns the counts of `{(true, predicted): how often}` as first predictions."""
    rows = [pair for pair, number in pairs.items() for _ in range(number)]
    labels, predicted = np.array(rows).reshape(-1, 2).T
    return count_confusion(
        labels, predicted[:, None], num_examples=len(rows), num_classes=num_classes
    )


def draw_random(num_classes=300, number=2000):
    """Returns the counts of five random predictions for each of many examples."""
    rng = np.random.default_rng(0)
    top_classes = np.argsort(rng.random((number, num_classes)), axis=1)[:, :5]
    labels = rng.integers(num_classes, size=number)
    return count_confusion(labels, top_classes, num_examples=number, num_classes=num_classes)


def describe(number):
    """Returns the title, names and order for a matrix of a number of classes."""
    return {
        'title': 'ResNet-18 on cats',
        'names': [f'cat {i}' for i in range(number)],
        'order': np.arange(number),
        'leading': 'top5',
    }


def open_image(data):
    return PIL.Image.open(io.BytesIO(data))


def luminance(color):
    """Returns the relative luminance (WCAG 2.1)."""
    levels = np.array(colors.to_rgb(color))
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    return linear @ (0.2126, 0.7152, 0.0722)


def contrast(color, background):
    """Returns the contrast ratio (WCAG 2.1)."""
    dark, light = sorted((luminance(color), luminance(background)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize('theme', style.THEMES.values(), ids=style.THEMES)
def test_words_and_lines_stand_out_from_the_background(theme):
    assert contrast(theme.ink, theme.background) > 7
    assert contrast(theme.muted, theme.background) > 4.5
    assert all(contrast(color, theme.background) > 3 for color in theme.series)


def test_a_single_prediction_stands_out_from_the_background():
    assert contrast(confusion_matrix.COLORS[0], confusion_matrix.BACKGROUND) > 1.5
    assert contrast(confusion_matrix.COLORS[-1], confusion_matrix.BACKGROUND) > 15
    brightness = [luminance(color) for color in confusion_matrix.COLORS]
    assert brightness == sorted(brightness)


def test_every_prediction_is_drawn_whether_as_square_or_as_point():
    counts = draw_random()
    for size in (1200, 1199, 300, 50):
        matrix = confusion_matrix.aggregate(counts, np.arange(300), size)
        assert matrix.shape == ((300, 300) if size == 1200 else (size, size))
        assert np.nansum(matrix) == pytest.approx(5 * 2000)
    squares = confusion_matrix.aggregate(counts, np.arange(300), 1200).fillna(0)
    np.testing.assert_array_equal(squares, counts.matrix())


def test_points_stay_in_their_cells():
    matrix = confusion_matrix.aggregate(draw_random(), np.arange(300), 900).fillna(0).to_numpy()
    by_cell = matrix.reshape(300, 3, 300, 3).sum(axis=(1, 3))
    np.testing.assert_allclose(by_cell, draw_random().matrix())


def test_the_order_moves_rows_and_columns():
    order = np.random.default_rng(1).permutation(300)
    matrix = confusion_matrix.aggregate(draw_random(), order, 1200).fillna(0)
    np.testing.assert_array_equal(matrix, draw_random().matrix()[order][:, order])


def test_a_huge_count_takes_no_extra_memory():
    counts = dataclasses.replace(
        count({(0, 0): 1, (5, 5): 1}, 1000),
        count=np.array([2**32 - 1, 1], np.uint32),
        num_examples=2**32,
    )
    matrix = confusion_matrix.aggregate(counts, np.arange(1000), 870)
    assert np.nansum(matrix) == pytest.approx(2**32)


def test_with_few_classes_only_the_first_predictions_are_drawn():
    counts = draw_random(num_classes=49, number=100)
    assert np.nansum(confusion_matrix.aggregate(counts, np.arange(49), 870)) == 100
    counts = draw_random(num_classes=50, number=100)
    assert np.nansum(confusion_matrix.aggregate(counts, np.arange(50), 870)) == 500


@pytest.mark.parametrize('number', [1, 2, 10, 30, 31, 100, 1000, 3000])
def test_a_matrix_of_any_size_is_a_picture_of_1000_pixels(number):
    saved = SavedConfusion(5, 1, count({(0, 0): 3, (number - 1, 0): 1}, number))
    image = open_image(draw_confusion_matrix(saved, **describe(number)))
    assert (image.format, image.size, image.mode) == ('PNG', (1000, 1000), 'RGB')
    assert image.getpixel((999, 60)) == tuple(
        round(255 * level) for level in colors.to_rgb(confusion_matrix.BACKGROUND)
    )


def test_a_matrix_without_predictions_is_a_picture():
    none = count_confusion(np.zeros(0, int), np.zeros((0, 5), int), num_examples=3, num_classes=60)
    assert open_image(draw_confusion_matrix(SavedConfusion(5, 1, none), **describe(60)))


@pytest.fixture
def figures(monkeypatch):
    """Gathers the figures that are drawn."""
    gathered = []
    create_figure = style.create_figure

    def create(*arguments, **options):
        gathered.append(create_figure(*arguments, **options))
        return gathered[-1]

    monkeypatch.setattr(style, 'create_figure', create)
    return gathered


def assert_words_apart(figure):
    """Fails if words overlap or are cut at the edge of a figure."""
    texts = list(figure.texts)
    for axes in figure.axes:
        titles = [axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label]
        texts += [*axes.texts, *titles]
        texts += axes.get_legend().get_texts() if axes.get_legend() else []
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = axis.get_major_ticks()
            shown = [tick for tick in ticks if low <= tick.get_loc() <= high]
            texts += [label for tick in shown for label in (tick.label1, tick.label2)]
    shown = [text for text in texts if text.get_text().strip() and text.get_visible()]
    # A pixel of a box is empty on each side: no letter fills it.
    boxes = [(text.get_text(), text.get_window_extent().padded(-1)) for text in shown]
    whole = figure.bbox
    for i, (word, box) in enumerate(boxes):
        assert whole.x0 <= box.x0 < box.x1 <= whole.x1, word
        assert whole.y0 <= box.y0 < box.y1 <= whole.y1, word
        assert [other for other, its in boxes[:i] if box.overlaps(its)] == [], word


@pytest.mark.parametrize(
    ('name', 'short'),
    [
        ('n02123045 tabby, tabby cat', 'tabby'),
        ('Granny Smith, apple', 'Granny Smith'),
        ('a class without any comma', 'a class without a…'),
        (', x', ', x'),
        ('', ''),
    ],
)
def test_the_names_of_classes_are_cut_at_the_first_comma(name, short):
    assert class_axes.shorten_name(name) == short


def test_names_are_large_where_there_is_room_and_upright_over_columns_where_there_is_none():
    few, many = (class_axes.lay_out(['tabby, cat'] * n, np.arange(n), 870) for n in (3, 30))
    assert few.height > 1.5 * many.height > 15
    assert (few.rotated, many.rotated) == (False, True)
    digits = class_axes.lay_out(list('0123456789'), np.arange(10), 870)
    assert not digits.rotated
    assert class_axes.lay_out(['x'] * 31, np.arange(31), 870).names == ()


@pytest.mark.parametrize('number', [2, 3, 5, 10, 17, 30])
@pytest.mark.parametrize('name', ['{}', 'class {}', 'wwwwwwwwwwwwwwww{}', 'a long name, {}'])
def test_no_words_of_a_matrix_overlap_or_are_cut(number, name, figures):
    labels = describe(number) | {'names': [name.format(i) for i in range(number)]}
    labels['title'] = (
        'ResNet-18 on imagenet2012, imported from timm: five predictions for each of 50 images'
    )
    saved = SavedConfusion(5, 12.25, count({(0, 0): 3, (number - 1, 0): 1}, number))
    draw_confusion_matrix(saved, **labels)
    assert_words_apart(figures[0])


HOSTILE = ['$\\frac{$', '<b>', '\x00\x1b[31m', '\u202eabc', 'x' * 10_000, '', '%s{0}', '$', '^_']


@pytest.mark.filterwarnings('ignore:Glyph')  # pytest resets the filter of style.py
def test_no_name_of_a_class_breaks_a_picture():
    saved = SavedConfusion(5, 1, count({(0, 0): 3, (8, 1): 1}, 9))
    labels = describe(9) | {'names': HOSTILE, 'title': '$\\frac{$'}
    assert open_image(draw_confusion_matrix(saved, **labels)).size == (1000, 1000)


def evaluations(number=4, num_classes=60):
    """Returns evaluations whose cell (0, 0) stays while (1, 1) grows from 1 to 1000."""
    return [
        SavedConfusion(
            10 * epoch,
            epoch,
            count({(0, 0): 10, (1, 1): round(1000 ** ((epoch - 1) / (number - 1)))}, num_classes),
        )
        for epoch in range(1, number + 1)
    ]


def test_the_gif_has_a_frame_an_evaluation_and_stops_at_the_last():
    gif = draw_confusion_history(evaluations(), **describe(60))
    image = open_image(gif)
    assert (image.format, image.n_frames, image.size) == ('GIF', 4, (640, 640))
    assert len(gif) < confusion_animation.MAX_BYTES
    durations = []
    for frame in range(4):
        image.seek(frame)
        durations.append(image.info['duration'])
    assert durations == [350, 350, 350, 3000]
    assert image.info['loop'] == 0


def test_a_single_evaluation_is_a_gif_of_one_frame():
    assert open_image(draw_confusion_history(evaluations()[:1], **describe(60))).n_frames == 1


def test_all_frames_have_one_scale():
    image = open_image(draw_confusion_history(evaluations(), **describe(60)))
    side = round(confusion_matrix.MATRIX_SHARE * 640)
    first = round(0.1 * 640) + side // 120
    top = 640 - round(0.008 * 640) - side + side // 120
    next_cell = side // 60
    still, growing = [], []
    for frame in range(image.n_frames):
        image.seek(frame)
        pixels = image.convert('RGB')
        still.append(pixels.getpixel((first, top)))
        growing.append(pixels.getpixel((first + next_cell, top + next_cell)))
    assert len(set(still)) == 1
    assert growing[1] == still[0]  # both are 10
    assert [sum(color) for color in growing] == sorted({sum(color) for color in growing})


def test_a_gif_that_would_be_too_large_is_drawn_smaller(monkeypatch):
    whole = len(draw_confusion_history(evaluations(), **describe(60)))
    monkeypatch.setattr(confusion_animation, 'MAX_BYTES', whole)
    smaller = draw_confusion_history(evaluations(), **describe(60))
    assert len(smaller) < whole
    assert open_image(smaller).size == (512, 512)
    assert open_image(smaller).n_frames == 4


SPLITS = ('train', 'validation')


def make_metrics(number):
    metrics = {name: np.linspace(0.1, 0.9, number) for name in METRICS_COLUMNS}
    return metrics | {'epoch': np.arange(1.0, number + 1)}


@pytest.mark.parametrize('number', [1, 2, 30, 300])
@pytest.mark.parametrize('theme', style.THEMES.values(), ids=style.THEMES)
def test_progress_of_any_length_is_a_picture(number, theme):
    image = open_image(
        progress.draw_progress(make_metrics(number), theme, title='Run', leading='top5')
    )
    assert image.size == (1200, 720)
    assert image.getpixel((2, 2))[:3] == tuple(
        round(255 * level) for level in colors.to_rgb(theme.background)
    )


def test_progress_without_numbers_is_a_picture():
    metrics = make_metrics(3) | {
        name: np.full(3, np.nan) for name in METRICS_COLUMNS if name not in ('step', 'epoch')
    }
    assert open_image(
        progress.draw_progress(metrics, style.LIGHT, title='$', leading='top1')
    ).size == (1200, 720)


@pytest.mark.parametrize(
    ('losses', 'is_logarithmic'),
    [((1000, 9), True), ((1000, 11), False), ((0, 5), False), ((np.nan, 1), False), ((1e-9, 1), 1)],
)
@pytest.mark.parametrize('narrow', [False, True])
def test_a_loss_that_spans_more_than_two_orders_of_magnitude_has_a_logarithmic_axis(
    losses, is_logarithmic, narrow, figures
):
    metrics = make_metrics(2) | {'validation_loss': np.array(losses)}
    metrics['train_loss'] = np.full(2, losses[1])
    progress.draw_progress(metrics, style.LIGHT, title='Run', leading='top1', narrow=narrow)
    [axes] = [axes for axes in figures[0].axes if axes.get_title('left').startswith('Loss')]
    assert axes.get_yscale() == ('log' if is_logarithmic else 'linear')
    assert ('logarithmic' in axes.get_title('left')) == is_logarithmic


def test_a_chart_without_numbers_says_so(figures):
    metrics = make_metrics(3) | {'train_loss': np.full(3, np.nan)}
    metrics['validation_loss'] = metrics['train_loss']
    progress.draw_progress(metrics, style.LIGHT, title='Run', leading='top1')
    words = {
        axes.get_title('left'): [text.get_text() for text in axes.texts] for axes in figures[0].axes
    }
    assert words == {
        'Top-1 accuracy, %': [],
        'Top-5 accuracy, %': [],
        'Loss, nats': ['not measured'],
        'Learning rate': [],
    }


def test_a_single_evaluation_has_axes_from_0_and_a_single_row_a_point(figures):
    progress.draw_progress(make_metrics(1), style.LIGHT, title='Run', leading='top1')
    assert {axes.get_ylim()[0] for axes in figures[0].axes} == {0}
    row = {name: values[-1:] for name, values in MACHINE.items()}
    machine.draw_machine(row, style.LIGHT, title='Run')
    assert all(line.get_marker() == 'o' for axes in figures[1].axes for line in axes.lines[:1])


@pytest.mark.parametrize('narrow', [False, True])
def test_no_words_of_the_machine_overlap_or_are_cut(narrow, figures):
    title = f'ResNet-18 on {"x" * 300} · up to epoch 3'
    machine.draw_machine(MACHINE, style.LIGHT, title=title, narrow=narrow)
    assert_words_apart(figures[0])


@pytest.mark.parametrize(('leading', 'second'), [('top1', 'top5'), ('top5', 'top1')])
def test_the_leading_accuracy_has_the_large_chart(leading, second, figures):
    progress.draw_progress(make_metrics(3), style.LIGHT, title='Run', leading=leading)
    sizes = {
        axes.get_title('left')[:5]: axes.get_window_extent().size.prod() for axes in figures[0].axes
    }
    assert sizes[f'Top-{leading[3]}'] > 4 * sizes[f'Top-{second[3]}']


@pytest.mark.parametrize('losses', [(2e3, 3, 0.02), (150, 100, 1.4), (2.31, 2.3, 2.29)])
@pytest.mark.parametrize('narrow', [False, True])
def test_no_words_of_the_progress_overlap_or_are_cut(losses, narrow, figures):
    metrics = make_metrics(3) | {f'{split}_loss': np.array(losses) for split in SPLITS}
    title = 'ResNet-101 on cats and dogs · epoch 12.25 of 30'
    progress.draw_progress(metrics, style.LIGHT, title=title, leading='top1', narrow=narrow)
    assert_words_apart(figures[0])


def test_progress_shows_its_lines():
    image = open_image(
        progress.draw_progress(make_metrics(5), style.LIGHT, title='Run', leading='top5')
    )
    drawn = {tuple(color[:3]) for _, color in image.convert('RGB').getcolors(2**20)}
    for color in style.LIGHT.series[:3]:
        assert tuple(round(255 * level) for level in colors.to_rgb(color)) in drawn


MACHINE = {
    'step': np.arange(1.0, 6),
    'time_s': np.arange(5.0),
    'gpu0_utilisation_percent': np.full(5, 90.0),
    'gpu1_utilisation_percent': np.full(5, 80.0),
    'gpu0_memory_used_bytes': np.full(5, 2.0**33),
    'gpu0_memory_total_bytes': np.full(5, 2.0**34),
    'device0_memory_in_use_bytes': np.full(5, 2.0**32),
    'host_cpu_percent': np.array([np.nan, 50, 60, 70, 80]),
    'host_memory_used_bytes': np.full(5, 2.0**35),
    'process_memory_bytes': np.full(5, 2.0**31),
    'images_per_second': np.array([np.nan, 900, 1000, 1000, 950]),
    'input_wait_fraction': np.full(5, 0.02),
}


def test_the_machine_is_drawn_from_the_columns_that_are_there():
    titles = [panel.title for panel in machine.choose_panels(MACHINE)]
    assert titles == [
        'GPU utilisation, %',
        'GPU memory, GiB',
        'Memory of JAX, GiB',
        'Images a second',
        'Waiting for input, % of the time',
        'Host CPU, %',
        'Host memory, GiB',
    ]
    without_gpu = {name: MACHINE[name] for name in MACHINE if not name.startswith(('gpu', 'dev'))}
    assert len(machine.choose_panels(without_gpu)) == 4
    image = open_image(machine.draw_machine(MACHINE, style.DARK, title='Run'))
    smaller = open_image(machine.draw_machine(without_gpu, style.DARK, title='Run'))
    assert image.width == smaller.width == 1200
    assert image.height - smaller.height == 2 * machine.PANEL_HEIGHT


def test_a_table_with_nothing_to_draw_has_no_panels():
    assert machine.choose_panels({}) == []
    assert machine.choose_panels({'time_s': np.zeros(3), 'other': np.zeros(3)}) == []
    assert machine.choose_panels({'host_cpu_percent': np.full(3, np.nan)}) == []


def test_the_same_numbers_give_the_same_picture():
    drawn = {machine.draw_machine(MACHINE, style.LIGHT, title='Run') for _ in range(2)}
    assert len(drawn) == 1
    saved = evaluations()[-1]
    assert len({draw_confusion_matrix(saved, **describe(60)) for _ in range(2)}) == 1
