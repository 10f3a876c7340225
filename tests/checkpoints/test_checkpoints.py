"""Checkpoints: which are kept, how one is selected, and how it is restored."""

import dataclasses
import math

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh, SingleDeviceSharding

from resnet_jax.checkpoints import reading, selection
from resnet_jax.checkpoints.format import (
    Metadata,
    compute_checksums,
    compute_joint_checksum,
    compute_metadata_checksum,
)
from resnet_jax.checkpoints.recovery import restore_newest
from resnet_jax.checkpoints.writing import CheckpointWriter
from resnet_jax.config import data_sets, schema
from resnet_jax.devices import parallel
from resnet_jax.errors import InputError, RunFailed
from resnet_jax.models import initialization, resnet
from resnet_jax.training import optimizers, schedules
from resnet_jax.training.state import TrainState, abstract_state, create_state


def one_device():
    return SingleDeviceSharding(jax.devices()[0])


def tiny_state(step):
    mesh = Mesh(np.array(jax.devices()[:4]), (parallel.AXIS,))
    params = {'head': {'kernel': np.full((2, 3), step, np.float32)}}
    state = TrainState(step=np.int32(step), params=params, batch_stats={}, opt_state=())
    return parallel.replicate(state, mesh)


def make_metadata(step, top5=None, top1=0.5, train_sums=None):
    scores = None if top5 is None else {'top5': top5, 'top1': top1, 'loss': 1.0}
    return Metadata(step=step, epoch=step / 10, train_sums=train_sums or {}, scores=scores)


def save(writer, step, *scores, **train_sums):
    writer.save(tiny_state(step), make_metadata(step, *scores, **train_sums))


def save_all(folder, keep, scores, leading='top5'):
    """Saves steps 10, 20, ... with scores `(top5, top1)`, or None where there was no evaluation."""
    with CheckpointWriter(folder, keep=keep, leading=leading) as writer:
        for i, score in enumerate(scores, 1):
            save(writer, 10 * i, *(score or ()))
        writer.wait()


def list_and_select(folder, leading='top5'):
    """Returns the steps in a folder, the best and the latest."""
    steps = reading.list_steps(folder)
    assert {path.name for path in folder.iterdir()} == set(map(str, steps))
    best, latest = (selection.resolve(folder, which, leading) for which in ('best', 'latest'))
    return steps, best, latest


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
    assert list_and_select(tmp_path) == (steps, best, 10 * len(scores))


@pytest.mark.parametrize(
    ('scores', 'steps', 'best'),
    [
        ([(0.3, 0.9), (0.9, 0.3), (0.5, 0.5)], [10, 30], 10),
        # Equal top-1: top-5 decides, then the later step.
        ([(0.6, 0.9), (0.7, 0.9), (0.9, 0.2)], [20, 30], 20),
        ([(0.6, 0.9), (0.6, 0.9), (0.9, 0.2)], [20, 30], 20),
    ],
)
def test_where_top_1_leads_it_chooses_the_best(tmp_path, scores, steps, best):
    save_all(tmp_path, 1, scores, leading='top1')
    assert list_and_select(tmp_path, leading='top1') == (steps, best, 30)


def test_the_best_is_known_to_the_process_that_continues(tmp_path):
    save_all(tmp_path, 1, [(0.9, 0.5), (0.1, 0.5)])
    with CheckpointWriter(tmp_path, keep=1, leading='top5') as writer:
        save(writer, 30, 0.2)
        save(writer, 40, 0.3)
        writer.wait()
    assert list_and_select(tmp_path) == ([10, 40], 10, 40)


@pytest.mark.parametrize('step', [5, 10, 15, 20])
def test_a_step_that_is_not_newer_than_the_latest_is_an_error(tmp_path, step):
    save_all(tmp_path, 0, [(0.5, 0.5)] * 2)
    with (
        CheckpointWriter(tmp_path, keep=0, leading='top5') as writer,
        pytest.raises(RuntimeError, match=str(step)),
    ):
        save(writer, step, 0.5)
    assert list_and_select(tmp_path)[0] == [10, 20]


@pytest.mark.parametrize('first', [None, RunFailed('no room for metrics.csv')])
def test_a_disk_that_fills_up_meanwhile_does_not_hide_why_a_run_failed(
    tmp_path, monkeypatch, first
):
    def close():
        raise OSError(28, 'No space left on device')

    message = 'metrics.csv' if first else 'a checkpoint cannot be written'
    with (
        pytest.raises(RunFailed, match=message),
        CheckpointWriter(tmp_path, keep=1, leading='top5') as writer,
    ):
        monkeypatch.setattr(writer._manager, 'close', close)
        if first:
            raise first


def test_a_checkpoint_is_selected_by_name_step_and_epoch(tmp_path):
    save_all(tmp_path, 0, [(0.9, 0.5), (0.3, 0.5), (0.5, 0.5)])
    selected = {
        which: selection.resolve(tmp_path, which, 'top5')
        for which in ('best', 'latest', 20, '20', 'epoch:1', 'epoch:3')
    }
    assert selected == {'best': 10, 'latest': 30, 20: 20, '20': 20, 'epoch:1': 10, 'epoch:3': 30}
    huge = '1' * 5000  # Python refuses to read such a number
    for which in (
        *(15, '0', 'epoch:4', 'epoch:', 'epoch:-1', 'newest', '', '-10', '+10', '010', '1\u00b2'),
        *(huge, f'epoch:{huge}', str(2**63), '\u0661\u0660'),
    ):
        with pytest.raises(InputError) as error:
            selection.resolve(tmp_path, which, 'top5')
        assert repr(which) in str(error.value)
        assert '10 (epoch 1), 20 (epoch 2), 30 (epoch 3)' in str(error.value)


@pytest.mark.parametrize('which', ['best', 'latest', 10, 'epoch:1'])
def test_where_there_are_no_checkpoints_the_message_says_so(tmp_path, which):
    with pytest.raises(InputError, match='found these steps: none$'):
        selection.resolve(tmp_path / 'checkpoints', which, 'top5')


def test_folders_that_are_not_named_as_a_step_is_written_are_ignored(tmp_path):
    save_all(tmp_path, 0, [(0.9, 0.5)])
    for name in (
        '0010',
        '+20',
        '-20',
        '\u00b2',
        '\u0662\u0660',
        '2_0',
        '2' * 200,
        '20 ',
        str(2**63),
    ):
        (tmp_path / name).mkdir()
    assert reading.list_steps(tmp_path) == [10]
    assert selection.resolve(tmp_path, 'latest', 'top5') == 10
    restored, _ = restore_newest(tmp_path, tiny_state(0), one_device(), may_move=True)
    assert int(restored.step) == 10
    with CheckpointWriter(tmp_path, keep=1, leading='top5') as writer:
        save(writer, 20, 0.8)
        writer.wait()
    assert reading.list_steps(tmp_path) == [10, 20]


def test_metadata_comes_back_as_it_was(tmp_path):
    sums = {'loss': (0.1 + 0.2, 1280.0), 'top1': (1e300, 3.0)}
    with CheckpointWriter(tmp_path, keep=0, leading='top5') as writer:
        save(writer, 10, 0.5, 1 / 3, train_sums=sums)
        save(writer, 20)
        writer.wait()
    assert reading.read_metadata(tmp_path, 10) == Metadata(
        step=10,
        epoch=1.0,
        train_sums={'loss': [0.30000000000000004, 1280.0], 'top1': [1e300, 3.0]},
        scores={'top5': 0.5, 'top1': 0.3333333333333333, 'loss': 1.0},
    )
    assert reading.read_metadata(tmp_path, 20) == Metadata(20, 2.0, {}, None)
    for step in (10, 20):
        _, metadata = reading.restore(tmp_path, step, tiny_state(0), one_device())
        assert metadata == reading.read_metadata(tmp_path, step)


def test_a_checkpoint_whose_validation_loss_is_nan_comes_back(tmp_path):
    metadata = Metadata(10, 1.0, {}, {'top5': 0.5, 'top1': 0.1, 'loss': math.nan})
    with CheckpointWriter(tmp_path, keep=0, leading='top5') as writer:
        writer.save(tiny_state(10), metadata)
        writer.wait()
    assert math.isnan(reading.read_metadata(tmp_path, 10).scores['loss'])


def test_a_step_that_is_saved_again_has_its_scores(tmp_path):
    save_all(tmp_path, 2, [(0.5, 0.5), None])
    with CheckpointWriter(tmp_path, keep=2, leading='top5') as writer:
        writer.replace(tiny_state(20), make_metadata(20, 0.9))
        writer.wait()
    assert list_and_select(tmp_path) == ([10, 20], 20, 20)
    state, metadata = reading.restore(tmp_path, 20, tiny_state(0), one_device())
    assert metadata == make_metadata(20, 0.9)
    jax.tree.map(np.testing.assert_array_equal, state, tiny_state(20))


def test_a_checkpoint_whose_replacement_failed_is_put_back(tmp_path, monkeypatch):
    def fail(self, state, metadata):
        raise RunFailed('no space')

    save_all(tmp_path, 0, [(0.5, 0.5), None])
    with CheckpointWriter(tmp_path, keep=0, leading='top5') as writer:
        monkeypatch.setattr(CheckpointWriter, 'save', fail)
        with pytest.raises(RunFailed):
            writer.replace(tiny_state(20), make_metadata(20, 0.9))
    assert reading.list_steps(tmp_path) == [10]
    restored, metadata = restore_newest(tmp_path, tiny_state(0), one_device(), may_move=True)
    assert (int(restored.step), metadata.step, metadata.scores) == (20, 20, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['10', '20']


@pytest.mark.parametrize('folder', ['.', 'nowhere'])
def test_where_there_never_was_a_checkpoint_none_is_restored(tmp_path, folder):
    restored = restore_newest(tmp_path / folder, tiny_state(0), one_device(), may_move=True)
    assert restored is None


@pytest.fixture(scope='module')
def network():
    """Returns a config with averaged weights, its model, its optimizer and a random state."""
    config = data_sets.use_data(schema.get_config(), 'digits')
    config.model.depth, config.model.width, config.ema_decay = 8, 4, 0.9
    model = resnet.create_model(config, 10)
    optimizer = optimizers.make_optimizer(config, schedules.make_schedule(config, 5))
    variables = initialization.init_variables(model, 8, seed=0, kernel_init='he_fan_out')
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
    with CheckpointWriter(folder, keep=0, leading='top5') as writer:
        writer.save(parallel.replicate(network[3], mesh), make_metadata(7))
        writer.wait()
    return folder


@pytest.mark.parametrize('devices', [1, 2, 4, None])
def test_a_state_comes_back_on_any_number_of_devices(network, saved_on_four, devices):
    if devices is None:
        sharding = SingleDeviceSharding(jax.devices()[2])
    else:
        sharding = parallel.replicated(Mesh(np.array(jax.devices()[:devices]), (parallel.AXIS,)))
    state, metadata = reading.restore(saved_on_four, 7, abstract_state(*network[:3]), sharding)
    assert metadata == make_metadata(7)
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
    config = schema.get_config()
    config.update(network[0].to_dict())
    config.model[field] = value
    expected = abstract_state(config, resnet.create_model(config, 10), network[2])
    with pytest.raises(InputError) as error:
        reading.restore(saved_on_four, 7, expected, one_device())
    assert f'  {message}\n' in f'{error.value}\n'
    assert str(saved_on_four / '7') in str(error.value)
    assert 'stage3_block1/conv2' not in str(error.value) or field == 'width'


def random_state():
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in ((3, 3, 2, 4), (4,), (1,))]
    params, batch_stats = {'a': arrays[0], 'b': arrays[1]}, {'a': arrays[2]}
    return TrainState(np.int32(7), params, batch_stats, opt_state=(np.int32(7),))


@given(st.data())
@settings(deadline=None)
def test_any_bit_of_an_array_changes_its_checksum_and_no_other(data):
    state = random_state()
    leaves, treedef = jax.tree.flatten(state)
    leaf = data.draw(st.integers(0, len(leaves) - 1))
    array = leaves[leaf]
    content = bytearray(array.tobytes())
    content[data.draw(st.integers(0, array.nbytes - 1))] ^= 1 << data.draw(st.integers(0, 7))
    leaves[leaf] = np.frombuffer(content, array.dtype).reshape(array.shape)
    changed = jax.tree.unflatten(treedef, leaves)
    before, after = compute_checksums(state), compute_checksums(changed)
    assert [before[name] == after[name] for name in before] == [
        i != leaf for i in range(len(leaves))
    ]
    metadata = make_metadata(7)
    assert compute_joint_checksum(changed, metadata) != compute_joint_checksum(state, metadata)


def test_arrays_that_change_places_change_their_checksums():
    state = random_state()
    changed = state.replace(params={'a': state.params['a'], 'c': state.params['b']})
    before, after = compute_checksums(state), compute_checksums(changed)
    assert before['params/b'] != after['params/c']
    metadata = make_metadata(7)
    assert compute_joint_checksum(changed, metadata) != compute_joint_checksum(state, metadata)


@pytest.mark.parametrize(
    'changes',
    [
        {'step': 8},
        {'epoch': math.nextafter(0.7, 1)},
        {'train_sums': {'loss': (1.0, 2.0)}},
        {'scores': {'top5': 0.5, 'top1': 0.5, 'loss': 1.0}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_any_change_of_the_metadata_changes_its_checksum(changes):
    state, metadata = random_state(), make_metadata(7)
    checksums = compute_checksums(state)
    checksum = compute_metadata_checksum(metadata, checksums)
    joint_checksum = compute_joint_checksum(state, metadata)
    assert compute_metadata_checksum(make_metadata(7), dict(checksums)) == checksum
    changed = dataclasses.replace(metadata, **changes)
    assert compute_metadata_checksum(changed, checksums) != checksum
    assert compute_metadata_checksum(metadata, checksums | {'step': '00000000'}) != checksum
    assert compute_joint_checksum(state, changed) != joint_checksum
