"""`predict --figure`: its picture, refused files, and images that cannot be read."""

import io
import os
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
from support.running import ROOT, command
from support.runs import as_png, make_config

from resnet_jax.console.signals import StopRequest
from resnet_jax.console.terminal import Terminal
from resnet_jax.data.preprocessing import make_view_reader
from resnet_jax.errors import InputError
from resnet_jax.reports.figures.predictions import IMAGE_SIDE, PredictedImage, draw_predictions
from resnet_jax.reports.prediction_figure import PredictionFigure
from resnet_jax.training import loop
from resnet_jax.types import Prediction

NAMES = ('n02123045 tabby, tabby cat', 'n02124075 Egyptian cat', '$5_x$', 'x' * 500, '猫\n\x00')
PREDICTIONS = [
    Prediction(i, name, p)
    for i, (name, p) in enumerate(zip(NAMES, (0.6, 0.3, 0.1, 0, 0), strict=True))
]
BLUE = (0, 0x72, 0xB2)


def draw(number=1, shape=(40, 60), predictions=PREDICTIONS):
    pixels = np.full((*shape, 3), (200, 30, 30), np.uint8)
    image = PredictedImage('a $file$\n.jpg', pixels, predictions)
    png = draw_predictions([image] * number)
    return np.asarray(PIL.Image.open(io.BytesIO(png)).convert('RGB'))


def find(picture, color):
    """Returns the width and height of the part that has a colour."""
    rows, columns = np.nonzero((picture == color).all(axis=-1))
    return np.ptp(columns) + 1, np.ptp(rows) + 1


@pytest.mark.parametrize(
    ('number', 'columns', 'rows'), [(1, 1, 1), (3, 1, 3), (4, 2, 2), (7, 2, 4)]
)
def test_there_is_a_cell_for_each_image(number, columns, rows):
    picture = draw(number)
    height, width = picture.shape[0] // rows, picture.shape[1] // columns
    assert (height, width) == draw().shape[:2]
    cells = [
        picture[row * height :][:height, column * width :][:, :width]
        for row in range(rows)
        for column in range(columns)
    ]
    assert [bool((cell == BLUE).all(axis=-1).any()) for cell in cells] == [
        i < number for i in range(rows * columns)
    ]


def test_the_first_bar_is_as_long_as_its_probability():
    full, _ = find(draw(predictions=[Prediction(0, 'a', 1.0)]), BLUE)
    part, _ = find(draw(predictions=[Prediction(0, 'a', 0.25)]), BLUE)
    assert part == pytest.approx(full / 4, abs=2)


@pytest.mark.parametrize('shape', [(60, 40), (40, 60), (8, 8), (500, 1), (1, 500)])
def test_an_image_keeps_its_shape(shape):
    width, height = find(draw(shape=shape), (200, 30, 30))
    assert max(width, height) == pytest.approx(IMAGE_SIDE, abs=3)
    assert height / width == pytest.approx(shape[0] / shape[1], rel=0.02) or 1 in shape


def test_long_names_stay_in_their_place():
    picture = draw(predictions=[Prediction(0, 'n02123045 ' + 'W' * 300, 1.0)] * 5)
    assert (picture[:, -20:] == 255).all()
    assert (picture[:, :20] == 255).all()


@pytest.mark.parametrize(
    ('size', 'mode', 'expected'),
    [
        ((800, 400), 'RGB', (180, 360, 3)),
        ((400, 800), 'L', (360, 180, 3)),
        ((8, 8), 'RGB', (8, 8, 3)),
        ((5000, 1), 'RGB', (1, 360, 3)),
    ],
)
@pytest.mark.parametrize('kind', ['PNG', 'JPEG'])
def test_a_whole_image_is_read_for_the_figure(size, mode, expected, kind):
    file = io.BytesIO()
    PIL.Image.new(mode, size, 77 if mode == 'L' else (77, 77, 77)).save(file, kind)
    pixels = make_view_reader(360)(file.getvalue())
    assert (pixels.shape, pixels.dtype) == (expected, np.uint8)
    assert (np.abs(pixels.astype(int) - 77) <= 1).all()


def test_an_unreadable_image_is_refused():
    with pytest.raises(InputError, match='it is not a JPEG, PNG, GIF, BMP or WebP image'):
        make_view_reader(360)(b'no image')


@pytest.mark.parametrize('name', ['out.pdf', 'out', 'out.png.jpg', 'missing/out.png', 'folder.png'])
def test_other_files_are_refused_before_any_work(name, tmp_path):
    (tmp_path / 'folder.png').mkdir()
    result = command('predict', f'--workdir={tmp_path}', f'--figure={tmp_path / name}', 'x.jpg')
    assert result.returncode == 2
    expected = '.png' if 'png' not in name or name.endswith('jpg') else 'a folder that exists'
    assert expected in result.stderr
    assert 'config.json' not in result.stderr  # the folder of the run was not read yet
    assert 'Traceback' not in result.stderr


def test_too_many_images_are_refused():
    with pytest.raises(InputError, match='at most 100 images, found 101'):
        PredictionFigure('out.png', 101)


def test_a_pipe_is_not_replaced_by_a_figure(tmp_path):
    os.mkfifo(tmp_path / 'out.png')
    with pytest.raises(InputError, match='expected a regular file .*, found a pipe'):
        PredictionFigure(tmp_path / 'out.png', 1)


def test_a_figure_without_images_leaves_the_old_file(tmp_path):
    path = tmp_path / 'out.png'
    path.write_bytes(b'old')
    PredictionFigure(path, 1).save()
    assert path.read_bytes() == b'old'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('figure') / 'run'
    config = make_config()
    config.num_epochs = 1
    loop.train(config, folder, Terminal(io.StringIO()), StopRequest())
    return folder


@pytest.mark.slow
def test_the_command_draws_the_readable_images(folder, tmp_path):
    (tmp_path / 'good.png').write_bytes(as_png(np.full((30, 20, 3), 90, np.uint8)))
    (tmp_path / 'bad.png').write_bytes(b'no image')
    figure = tmp_path / 'out.PNG'
    images = [tmp_path / 'good.png', tmp_path / 'bad.png', tmp_path / 'good.png']
    result = command('predict', f'--workdir={folder}', f'--figure={figure}', *images)
    assert result.returncode == 1, result.stderr
    assert 'bad.png' in result.stderr
    width, height = PIL.Image.open(figure).size
    assert (width, height) == (1240, 2 * 460)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['bad.png', 'good.png', 'out.PNG']


@pytest.mark.slow
def test_predicting_without_a_figure_does_not_import_the_figures(folder, tmp_path):
    (tmp_path / 'good.png').write_bytes(as_png(np.full((30, 20, 3), 90, np.uint8)))
    code = f"""
import sys
sys.argv = ['predict', '--workdir={folder}', '{tmp_path / 'good.png'}']
from resnet_jax import predict
from resnet_jax.config import flags
try:
    flags.run(predict.main)
except SystemExit as status:
    assert not status.code
print('resnet_jax.reports.figures' in sys.modules)  # Keras imports matplotlib itself
"""
    result = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert result.stdout.splitlines()[-1] == 'False', result.stderr
