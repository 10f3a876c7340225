"""What a finished run can do: evaluate, predict, in Python and as commands."""

import io
import json

import jax
import numpy as np
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
            float(row['validation_top5']),
            float(row['validation_top1']),
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
        ([b'not an image'], 'cannot be decoded'),
        ([np.zeros((8, 8, 3), np.float32)], 'uint8.*float32'),
        ([np.zeros((8, 8, 4), np.uint8)], r'\[8, 8, 4\]'),
    ],
)
def test_images_that_cannot_be_read_are_errors(predictor, images, reason):
    with pytest.raises(resnet_jax.InputError, match=reason):
        predictor.predict(images)


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


@pytest.mark.parametrize(
    ('arguments', 'found'),
    [
        (['evaluate', '--workdir={folder}/nothing'], 'config.json'),
        (['predict', '--workdir={folder}'], 'image'),
    ],
)
def test_bad_input_ends_a_command_with_status_2(folder, arguments, found):
    done = command(*(argument.format(folder=folder) for argument in arguments))
    assert done.returncode == 2
    assert found in done.stderr
    assert 'Traceback' not in done.stderr
