"""What a finished run can do: evaluate, predict, in Python and as commands."""

import io
import json
import os

import jax
import numpy as np
import PIL.ExifTags
import PIL.Image
import pytest
from support.running import command
from support.runs import as_png, make_config

import resnet_jax
from resnet_jax.checkpoints.trained_network import TrainedNetwork
from resnet_jax.console.signals import StopRequest
from resnet_jax.console.terminal import Terminal
from resnet_jax.data.sources import registry
from resnet_jax.inference.predictor import Predictor
from resnet_jax.models import initialization, resnet
from resnet_jax.training import loop


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A run of three epochs with averaged weights: steps 5, 10 and 15."""
    folder = tmp_path_factory.mktemp('run') / 'digits'
    loop.train(make_config(), folder, Terminal(io.StringIO()), StopRequest())
    return folder


@pytest.fixture(scope='module')
def run(folder):
    return resnet_jax.Run(folder)


@pytest.fixture(scope='module')
def images():
    """The 360 digits of the validation split."""
    source = registry.load_source(make_config(), 'validation')
    return [source.load_image(index).numpy() for index in source.elements(None, 0)]


@pytest.fixture(scope='module')
def predictor(run):
    return run.predictor()


def assert_same(result, other):
    for field in ('split', 'step', 'num_examples', 'top1', 'top5', 'averaged'):
        assert getattr(result, field) == getattr(other, field)
    assert result.loss == pytest.approx(other.loss, rel=1e-5)
    np.testing.assert_array_equal(result.confusion, other.confusion)


@pytest.mark.parametrize(('split', 'number'), [('validation', 360), ('train', 1437)])
def test_evaluation_sees_the_whole_split_whatever_the_batch_size(run, split, number):
    result = run.evaluate(split=split, checkpoint='latest')
    assert (result.split, result.step, result.num_examples) == (split, 15, number)
    assert result.averaged
    assert result.confusion.shape == (10, 10)
    assert result.confusion.dtype == np.int64
    assert np.trace(result.confusion) / number == result.top5
    assert result.confusion.sum() == 5 * number
    assert 0 < result.top1 < result.top5 <= 1
    assert_same(run.evaluate(split, 'latest', batch_size=101), result)


def test_evaluation_repeats_what_the_run_noted(run, folder):
    rows = run.workdir.read_metrics()
    assert [row['step'] for row in rows] == ['5', '10', '15']
    for row in rows[0], rows[2]:
        result = run.evaluate(checkpoint=int(row['step']))
        assert str(result.top1) == row['validation_top1']
        assert str(result.top5) == row['validation_top5']
        assert result.loss == pytest.approx(float(row['validation_loss']), rel=1e-6)


def test_checkpoints_are_chosen_by_name_step_and_epoch(run):
    rows = run.workdir.read_metrics()
    best = max(
        rows,
        key=lambda row: (
            float(row['validation_top1']),
            float(row['validation_top5']),
            int(row['step']),
        ),
    )
    assert run.evaluate().step == int(best['step'])
    assert run.evaluate(checkpoint='epoch:2').step == 10
    assert run.evaluate(checkpoint='10').step == 10


@pytest.mark.parametrize(
    ('arguments', 'found'),
    [
        ({'split': 'test'}, "'test'.*validation, train"),
        ({'checkpoint': 7}, r'5 \(epoch 1\), 10 \(epoch 2\), 15 \(epoch 3\)'),
        ({'checkpoint': 'epoch:4'}, r"'epoch:4'.*15 \(epoch 3\)"),
        ({'checkpoint': 'newest'}, "'newest'.*best, latest"),
        ({'batch_size': -1}, 'batch_size = -1'),
    ],
)
def test_what_is_not_there_is_an_error_that_lists_what_is(run, arguments, found):
    with pytest.raises(resnet_jax.InputError, match=found):
        run.evaluate(**arguments)


def test_a_folder_without_a_run_is_an_error_that_names_the_runs_nearby(folder):
    with pytest.raises(resnet_jax.InputError, match=f'no config.json.*{folder}'):
        resnet_jax.Run(folder.parent / 'other')


def test_paths_bytes_and_arrays_give_the_same_predictions(predictor, images, tmp_path):
    paths = [tmp_path / f'{i}.png' for i in range(5)]
    for path, image in zip(paths, images, strict=False):
        path.write_bytes(as_png(image))
    expected = predictor.predict(images[:5])
    assert predictor.predict(paths) == expected
    assert predictor.predict([str(path) for path in paths]) == expected
    assert predictor.predict([path.read_bytes() for path in paths]) == expected
    assert predictor.predict([image[..., 0] for image in images[:5]]) == expected


def test_predictions_fall_and_have_the_names_of_the_classes(predictor, images):
    for predictions in predictor.predict(images[:20]):
        assert len(predictions) == 5
        probabilities = [prediction.probability for prediction in predictions]
        assert probabilities == sorted(probabilities, reverse=True)
        assert 0.5 < sum(probabilities) <= 1 + 1e-6
        assert all(prediction.name == str(prediction.index) for prediction in predictions)
        assert all(isinstance(p, resnet_jax.Prediction) for p in predictions)


def test_top_k_is_cut_to_the_number_of_classes(predictor, images):
    [one] = predictor.predict(images[:1], top_k=1)
    [all_classes] = predictor.predict(images[:1], top_k=99)
    assert len(one) == 1
    assert one[0] == all_classes[0]
    assert sorted(prediction.index for prediction in all_classes) == list(range(10))
    assert sum(p.probability for p in all_classes) == pytest.approx(1, abs=1e-6)


def test_predictions_agree_with_evaluation(run, predictor, images):
    source = registry.load_source(run.config, 'validation')
    labels = [int(source.identify(index)['label']) for index in source.elements(None, 0)]
    predictions = predictor.predict(images)
    hits = [[p.index == label for p in row] for row, label in zip(predictions, labels, strict=True)]
    result = run.evaluate()
    assert np.mean([row[0] for row in hits]) == result.top1
    assert np.mean([any(row) for row in hits]) == result.top5


def test_no_images_give_no_predictions(predictor):
    assert predictor.predict([]) == []


@pytest.mark.parametrize(
    ('images', 'reason'),
    [
        ('one.png', 'list'),
        (['no-such-file.png'], 'no-such-file.png.*No such file'),
        (['/dev/zero'], '/dev/zero.*regular file'),
        ([b'not an image'], 'cannot be decoded'),
        ([np.zeros((8, 8, 3), np.float32)], 'uint8.*float32'),
        ([np.zeros((8, 8, 4), np.uint8)], r'\[8, 8, 4\]'),
    ],
)
def test_images_that_cannot_be_read_are_errors(predictor, images, reason):
    with pytest.raises(resnet_jax.InputError, match=reason):
        predictor.predict(images)


def test_a_pipe_and_a_huge_file_are_refused_unread(predictor, tmp_path):
    os.mkfifo(tmp_path / 'pipe.png')
    os.truncate(os.open(tmp_path / 'huge.png', os.O_CREAT | os.O_WRONLY), 2**40)
    for name, reason in {
        'pipe.png': 'expected a regular file',
        'huge.png': 'expected at most 1,073,741,824 bytes, found 1,099,511,627,776',
        'a' * 5000: 'File name too long',
    }.items():
        with pytest.raises(resnet_jax.InputError, match=f'{name}: cannot be read: {reason}'):
            predictor.predict([tmp_path / name])


def test_images_are_predicted_batch_by_batch_and_errors_keep_their_places(
    predictor, images, monkeypatch
):
    monkeypatch.setattr('resnet_jax.inference.predictor.MAX_BATCH_SIZE', 2)
    asked = []

    def some():
        for image in (b'', b'bad', images[0], b'', images[1], images[2]):
            asked.append(image)
            yield image

    results = []
    for result in predictor.predict_each(some()):
        results.append(result)
        assert len(asked) == len(results) + len(results) % 2
    errors = [isinstance(result, resnet_jax.InputError) for result in results]
    assert errors == [True, True, False, True, False, False]
    names = [result[0].name for result, error in zip(results, errors, strict=True) if not error]
    assert names == [one[0].name for one in predictor.predict(images[:3])]


@pytest.mark.parametrize('top_k', [0, 65_537, 10**9])
def test_a_number_of_predictions_that_is_out_of_range_is_refused(predictor, images, top_k):
    with pytest.raises(resnet_jax.InputError, match='at least 1 and at most 65,536'):
        predictor.predict(images[:1], top_k)


@pytest.mark.parametrize(('of_run', 'asked'), [(False, True), (True, False)])
def test_a_predictor_turns_images_as_the_run_does_or_as_it_is_told(folder, images, of_run, asked):
    image, exif = PIL.Image.fromarray(images[0]), PIL.Image.Exif()
    exif[PIL.ExifTags.Base.Orientation] = 3
    turned = io.BytesIO()
    image.rotate(180).save(turned, 'PNG', exif=exif)
    run = resnet_jax.Run(folder)
    with run.config.unlocked():
        run.config.data.exif_orientation = of_run
    predict = {
        upright: run.predictor(exif_orientation=upright).predict([turned.getvalue()])
        for upright in (None, of_run, asked)
    }
    expected = {True: image, False: image.rotate(180)}
    for upright, predictions in predict.items():
        pixels = np.asarray(expected[of_run if upright is None else upright])
        assert predictions == run.predictor().predict([pixels])


def test_a_network_with_more_outputs_than_the_data_has_classes_predicts_classes():
    config = make_config()
    config.model.num_classes = 12
    model = resnet.create_model(config, 10)
    variables = initialization.init_variables(model, 8, seed=0, kernel_init='he_fan_out')
    variables['params']['head']['bias'][11] = 9.0
    names = tuple('abcdefghij')
    trained = TrainedNetwork(config, names, model, jax.tree.map(jax.numpy.array, variables), 0)
    [predictions] = Predictor(trained).predict([np.zeros((8, 8), np.uint8)], top_k=10)
    assert sorted(prediction.name for prediction in predictions) == list(names)


@pytest.fixture(scope='module')
def evaluation(folder):
    """The command with one device, for a run that was trained on four."""
    return command(
        'evaluate', f'--workdir={folder}', '--checkpoint=epoch:2', JAX_NUM_CPU_DEVICES='1'
    )


def test_the_evaluate_command_ends_with_a_line_of_json(run, evaluation):
    assert evaluation.returncode == 0, evaluation.stderr
    *table, last = evaluation.stdout.splitlines()
    found = json.loads(last)
    assert list(found) == ['split', 'step', 'num_examples', 'num_errors', 'loss', 'top1', 'top5']
    result = run.evaluate(checkpoint='epoch:2')
    assert found['loss'] == pytest.approx(result.loss, rel=1e-5)
    assert (found['split'], found['step'], found['num_examples']) == ('validation', 10, 360)
    assert (found['top1'], found['top5']) == (result.top1, result.top5)
    assert any('averaged' in line and '10' in line for line in table)
    assert [line.split()[0] for line in table[-3:]] == ['loss', 'top-1', 'top-5']  # few classes


def test_the_predict_command_answers_for_every_readable_image(predictor, folder, images, tmp_path):
    for i in range(2):
        (tmp_path / f'{i}.png').write_bytes(as_png(images[i]))
    (tmp_path / 'broken.png').write_bytes(b'not an image')
    names = [str(tmp_path / name) for name in ('0.png', 'broken.png', '1.png')]
    done = command('predict', f'--workdir={folder}', *names, JAX_NUM_CPU_DEVICES='1')
    assert done.returncode == 1
    [error] = [line for line in done.stderr.splitlines() if 'broken.png' in line]
    assert 'cannot be decoded' in error
    lines = done.stdout.splitlines()
    assert len(lines) == 12
    for image, answer in zip((names[0], names[2]), (lines[:6], lines[6:]), strict=True):
        [predictions] = predictor.predict([image])
        assert answer[0] == f'{image}: {predictions[0].name}'
        for rank, line in enumerate(answer[1:]):
            number, probability, name = line.split()
            assert (number, name) == (str(rank + 1), predictions[rank].name)
            assert float(probability[:-1]) == pytest.approx(
                100 * predictions[rank].probability, abs=0.006
            )


@pytest.mark.slow
@pytest.mark.parametrize('form', [[], ['--json']], ids=['text', 'json'])
def test_the_predict_command_takes_folders_patterns_and_odd_names(folder, images, tmp_path, form):
    (tmp_path / 'inner').mkdir()
    no_utf8 = os.fsdecode(b'inner/\xff.png')
    for name in ('b.png', 'inner/\n.png', no_utf8):
        (tmp_path / name).write_bytes(as_png(images[0]))
    (tmp_path / 'inner/a.png').write_bytes(b'no image')
    os.mkfifo(tmp_path / 'inner/pipe')
    flags = (f'--workdir={folder}', '--top_k=3', *form, '/dev/zero', tmp_path / 'inner/pipe')
    done = command(
        'predict',
        *(*flags, f'{tmp_path}/*.png', tmp_path / 'inner'),
        JAX_NUM_CPU_DEVICES='1',
        PYTHONIOENCODING='ascii',
    )
    assert (done.returncode, 'Traceback' in done.stderr) == (1, False)
    order = ['/dev/zero', 'inner/pipe', 'b.png', 'inner/\n.png', 'inner/a.png', no_utf8]
    if form:
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert [os.path.relpath(line['image'], tmp_path) for line in lines[1:]] == order[1:]
        assert ['error' in line for line in lines] == [True, True, False, False, True, False]
        assert [len(line.get('predictions', [])) for line in lines] == [0, 0, 3, 3, 0, 3]
        return
    assert [line.partition(': ')[0] for line in done.stdout.splitlines()[::4]] == [
        f'{tmp_path}/{name}' for name in ('b.png', 'inner/\\n.png', 'inner/\\udcff.png')
    ]
    for name in ('/dev/zero', f'{tmp_path}/inner/pipe', f'{tmp_path}/inner/a.png'):
        assert f'{name}: cannot be ' in done.stderr


@pytest.mark.parametrize(
    ('arguments', 'found'),
    [
        (['evaluate', '--workdir={folder}/nothing'], 'config.json'),
        (['predict', '--workdir={folder}'], 'image'),
        (['predict', '--workdir={folder}', '--top_k=1000000000', 'a.png'], '[1, 65536]'),
    ],
)
def test_bad_input_ends_a_command_with_status_2(folder, arguments, found):
    done = command(*(argument.format(folder=folder) for argument in arguments))
    assert done.returncode == 2
    assert found in done.stderr
    assert 'Traceback' not in done.stderr
