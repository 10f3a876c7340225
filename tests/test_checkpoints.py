"""Checkpoints: which are kept, how they are found, and how they come back."""

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, SingleDeviceSharding

from resnet_jax import base_config, parallel
from resnet_jax.models import resnet
from resnet_jax.training import optimizers, schedules
from resnet_jax.training.checkpoints import Checkpoints
from resnet_jax.training.state import TrainState, abstract_state, create_state
from resnet_jax.types import InputError


def tiny_state(step, devices=4):
    mesh = Mesh(np.array(jax.devices()[:devices]), (parallel.AXIS,))
    params = {'head': {'kernel': np.full((2, 3), step, np.float32)}}
    state = TrainState(step=np.int32(step), params=params, batch_stats={}, opt_state=())
    return parallel.replicate(state, mesh)


def save(checkpoints, step, top5=None, top1=0.5, **metadata):
    scores = None if top5 is None else {'top5': top5, 'top1': top1, 'loss': 1.0}
    checkpoints.save(tiny_state(step), {'step': step, 'epoch': step / 10} | metadata, scores)


def save_all(folder, keep, scores):
    """Saves steps 10, 20, ... with scores `(top5, top1)`, or None where there was no evaluation."""
    with Checkpoints(folder, keep=keep) as checkpoints:
        for i, score in enumerate(scores, 1):
            save(checkpoints, 10 * i, *(score or ()))
        checkpoints.wait()


def found_in(folder):
    with Checkpoints(folder, read_only=True) as checkpoints:
        assert {path.name for path in folder.iterdir()} == set(map(str, checkpoints.steps()))
        return checkpoints.steps(), checkpoints.resolve('best'), checkpoints.resolve('latest')


@pytest.mark.parametrize(
    ('keep', 'scores', 'steps', 'best'),
    [
        (2, [(0.9, 0.5), (0.3, 0.5), (0.4, 0.5), (0.5, 0.5)], [10, 30, 40], 10),
        (1, [(0.9, 0.5), (0.8, 0.5), (0.1, 0.5)], [10, 30], 10),
        # The best is among the latest.
        (2, [(0.1, 0.5), (0.2, 0.5), (0.3, 0.5)], [20, 30], 30),
        # Equal top-5: top-1 decides, then the later step.
        (1, [(0.9, 0.7), (0.9, 0.6), (0.9, 0.2), (0.8, 0.9)], [10, 40], 10),
        (1, [(0.9, 0.7), (0.9, 0.7), (0.9, 0.6)], [20, 30], 20),
        # Steps without an evaluation are never the best.
        (1, [(0.2, 0.1), None, None], [10, 30], 10),
        (2, [None, None, None], [20, 30], 30),
        (0, [(0.9, 0.5), (0.3, 0.5), None, (0.4, 0.5), (0.1, 0.5)], [10, 20, 30, 40, 50], 10),
    ],
)
def test_the_latest_and_the_best_are_kept(tmp_path, keep, scores, steps, best):
    save_all(tmp_path, keep, scores)
    assert found_in(tmp_path) == (steps, best, 10 * len(scores))


def test_the_best_is_known_to_the_process_that_continues(tmp_path):
    save_all(tmp_path, 1, [(0.9, 0.5), (0.1, 0.5)])
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        save(checkpoints, 30, 0.2)
        save(checkpoints, 40, 0.3)
        checkpoints.wait()
    assert found_in(tmp_path) == ([10, 40], 10, 40)


@pytest.mark.parametrize('step', [5, 10, 15, 20])
def test_a_step_that_is_not_newer_than_the_latest_is_an_error(tmp_path, step):
    save_all(tmp_path, 0, [(0.5, 0.5)] * 2)
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(RuntimeError, match=str(step)):
        save(checkpoints, step, 0.5)
    assert found_in(tmp_path)[0] == [10, 20]


def test_a_checkpoint_is_found_by_name_step_and_epoch(tmp_path):
    save_all(tmp_path, 0, [(0.9, 0.5), (0.3, 0.5), (0.5, 0.5)])
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        found = {
            which: checkpoints.resolve(which)
            for which in ('best', 'latest', 20, '20', 'epoch:1', 'epoch:3')
        }
        assert found == {
            'best': 10, 'latest': 30, 20: 20, '20': 20, 'epoch:1': 10, 'epoch:3': 30
        }  # fmt: skip
        for which in (15, '0', 'epoch:4', 'epoch:', 'epoch:-1', 'newest', '', '-10'):
            with pytest.raises(InputError) as error:
                checkpoints.resolve(which)
            assert repr(which) in str(error.value)
            assert '10 (epoch 1), 20 (epoch 2), 30 (epoch 3)' in str(error.value)


@pytest.mark.parametrize('which', ['best', 'latest', 10, 'epoch:1'])
def test_where_there_are_no_checkpoints_the_message_says_so(tmp_path, which):
    with (
        Checkpoints(tmp_path / 'checkpoints') as checkpoints,
        pytest.raises(InputError, match='there are none'),
    ):
        checkpoints.resolve(which)


def test_metadata_comes_back_as_it_was(tmp_path):
    sums = {'loss': (0.1 + 0.2, 1280.0), 'top1': (1e300, 3.0)}
    with Checkpoints(tmp_path) as checkpoints:
        save(checkpoints, 10, 0.5, train_sums=sums)
        save(checkpoints, 20, train_sums={})
        checkpoints.wait()
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        assert checkpoints.read_metadata(10) == {
            'step': 10,
            'epoch': 1.0,
            'train_sums': {'loss': [0.30000000000000004, 1280.0], 'top1': [1e300, 3.0]},
        }
        assert checkpoints.read_metadata(20)['train_sums'] == {}


@pytest.fixture(scope='module')
def network():
    """Returns a config with averages, its model and optimizer, and a state of random arrays."""
    config = base_config.use_data(base_config.get_config(), 'digits')
    config.model.depth, config.model.width, config.ema_decay = 8, 4, 0.9
    model = resnet.create_model(config, 10)
    optimizer = optimizers.make_optimizer(config, schedules.make_schedule(config, 5))
    variables = resnet.init_variables(model, 8, seed=0, kernel_init='he_fan_out')
    rng = np.random.default_rng(0)
    state = jax.tree.map(
        lambda array: rng.normal(size=array.shape).astype(array.dtype),
        create_state(config, variables, optimizer),
    )
    return config, model, optimizer, state.replace(step=np.int32(7))


@pytest.fixture(scope='module')
def saved_on_four(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp('checkpoints')
    mesh = Mesh(np.array(jax.devices()[:4]), (parallel.AXIS,))
    with Checkpoints(folder) as checkpoints:
        state = parallel.replicate(network[3], mesh)
        checkpoints.save(state, {'step': 7, 'epoch': 1.0}, None)
        checkpoints.wait()
    return folder


@pytest.mark.parametrize('devices', [1, 2, 4, None])
def test_a_state_comes_back_on_any_number_of_devices(network, saved_on_four, devices):
    if devices is None:
        sharding = SingleDeviceSharding(jax.devices()[2])
    else:
        sharding = parallel.replicated(Mesh(np.array(jax.devices()[:devices]), (parallel.AXIS,)))
    with Checkpoints(saved_on_four, read_only=True) as checkpoints:
        state = checkpoints.restore(7, abstract_state(*network[:3]), sharding)
    assert isinstance(state, TrainState)
    assert jax.tree.structure(state) == jax.tree.structure(network[3])
    jax.tree.map(np.testing.assert_array_equal, state, network[3])
    for array in jax.tree.leaves(state):
        assert array.sharding.is_equivalent_to(sharding, array.ndim)


@pytest.mark.parametrize(
    ('field', 'value', 'message'),
    [
        ('width', 6, 'params/stem/conv/kernel: expected (3, 3, 3, 6), found (3, 3, 3, 4)'),
        ('depth', 14, 'params/stage1_block2/conv1/kernel: expected (3, 3, 4, 4), found nothing'),
        ('variant', 'timm', 'params/input_norm/bias: expected nothing, found (3,)'),
        ('num_classes', 12, 'params/head/bias: expected (12,), found (10,)'),
    ],
)
def test_arrays_that_differ_are_listed(network, saved_on_four, field, value, message):
    config = base_config.get_config()
    config.update(network[0].to_dict())
    config.model[field] = value
    expected = abstract_state(config, resnet.create_model(config, 10), network[2])
    sharding = SingleDeviceSharding(jax.devices()[0])
    with (
        Checkpoints(saved_on_four, read_only=True) as checkpoints,
        pytest.raises(InputError) as error,
    ):
        checkpoints.restore(7, expected, sharding)
    assert f'  {message}\n' in f'{error.value}\n'
    assert str(saved_on_four / '7') in str(error.value)
    assert 'stage3_block1/conv2' not in str(error.value) or field == 'width'
