"""Damaged checkpoints: they are detected, moved aside and never used."""

import io
import logging
import math
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh
from support.running import DIGITS, ROOT, assert_same_state, read_rows, run

from resnet_jax.checkpoints import reading, selection
from resnet_jax.checkpoints.format import Metadata
from resnet_jax.checkpoints.recovery import restore_newest
from resnet_jax.checkpoints.writing import CheckpointWriter
from resnet_jax.config import data_sets, schema
from resnet_jax.console.signals import StopRequest
from resnet_jax.console.terminal import Terminal
from resnet_jax.devices import parallel
from resnet_jax.errors import InputError
from resnet_jax.models import resnet
from resnet_jax.run import Run
from resnet_jax.training import loop, optimizers, schedules
from resnet_jax.training.state import abstract_state

FIELDS = {
    'num_epochs': 3,
    'batch_size': 256,  # five steps an epoch
    'model.depth': 8,
    'model.width': 4,
    'keep_checkpoints': 0,
    'ema_decay': 0.0,
    'schedule.name': 'constant',
    'schedule.warmup_epochs': 0.0,
}


def make_config(**fields):
    config = data_sets.use_data(schema.get_config(), 'digits')
    fields = {name.replace('__', '.'): value for name, value in fields.items()}
    config.update_from_flattened_dict(FIELDS | fields)
    return config


def train(folder):
    loop.train(make_config(), folder, Terminal(io.StringIO()), StopRequest())


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """Returns the folder of an undisturbed run with the checkpoints 5, 10 and 15."""
    folder = tmp_path_factory.mktemp('whole') / 'run'
    train(folder)
    return folder


@pytest.fixture
def copied(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / 'run')


def restore_with(function, folder, *args, config=None, **kwargs):
    config = config or make_config()
    optimizer = optimizers.make_optimizer(config, schedules.make_schedule(config, 5))
    expected = abstract_state(config, resnet.create_model(config, 10), optimizer)
    sharding = parallel.replicated(Mesh(np.array(jax.devices()[:1]), (parallel.AXIS,)))
    return function(folder / 'checkpoints', *args, expected, sharding, **kwargs)


def restore(folder, step):
    return restore_with(reading.restore, folder, step)


def restore_newest_in(folder):
    return restore_with(restore_newest, folder, may_move=True)


def list_files(folder):
    return sorted(path for path in folder.rglob('*') if path.is_file())


def read_all(folder):
    return {path.relative_to(folder): path.read_bytes() for path in list_files(folder)}


def is_detected(folder, reference, step=15):
    """Says whether a checkpoint is refused; a checkpoint that is not must equal the saved one."""
    try:
        state, metadata = restore(folder, step)
    except InputError as error:
        assert str(folder / 'checkpoints' / str(step)) in str(error)
        return True
    assert metadata == reference[1]
    jax.tree.map(np.testing.assert_array_equal, state, reference[0])
    assert jax.tree.map(lambda x: x.dtype, state) == jax.tree.map(lambda x: x.dtype, reference[0])
    return False


def holds_numbers(path):
    """Says whether a file contains numbers of the state, the metadata or the scores."""
    return path.name in ('metadata', 'metrics') or (
        path.parent.parent.name == 'state' and path.parent.name == 'd'
    )


@pytest.mark.parametrize('keep', [None, 0.0, 0.5])
def test_a_file_that_is_missing_or_cut_short_is_detected(whole, copied, keep):
    reference = restore(whole, 15)
    detected, array_files = 0, 0
    for path in list_files(copied / 'checkpoints' / '15'):
        content = path.read_bytes()
        path.unlink()
        if keep is not None:
            path.write_bytes(content[: int(keep * len(content))])
        refused = is_detected(copied, reference)
        assert refused or not holds_numbers(path), path
        if 'ocdbt.process_0' in path.parts:
            detected, array_files = detected + refused, array_files + 1
        path.write_bytes(content)
    assert not is_detected(copied, reference)
    assert 0 < detected < array_files  # Orbax leaves some files that nothing refers to


def test_a_flipped_bit_is_detected_or_changes_nothing(whole, tmp_path):
    reference = restore(whole, 15)
    copied = shutil.copytree(whole, tmp_path / 'run')
    files = list_files(copied / 'checkpoints' / '15')
    outcomes = []

    @given(st.integers(0, len(files) - 1), st.floats(0, 1, exclude_max=True), st.integers(0, 7))
    @settings(deadline=None, max_examples=30)
    def flip(number, position, bit):
        content = files[number].read_bytes()
        damaged = bytearray(content)
        damaged[int(position * len(content))] ^= 1 << bit
        files[number].write_bytes(damaged)
        try:
            outcomes.append(is_detected(copied, reference))
        finally:
            files[number].write_bytes(content)

    flip()
    assert True in outcomes
    assert not is_detected(copied, reference)


def test_numbers_of_another_checkpoint_are_detected(whole, copied):
    """Orbax itself does not notice that arrays or metadata were replaced by other intact ones."""
    for item in ('state', 'metadata', 'metrics'):
        folder = copied / 'checkpoints' / '15'
        shutil.rmtree(folder)
        shutil.copytree(whole / 'checkpoints' / '15', folder)
        shutil.rmtree(folder / item)
        shutil.copytree(whole / 'checkpoints' / '10' / item, folder / item)
        with pytest.raises(InputError, match='15: expected'):
            restore(copied, 15)


def cut_short(folder):
    for path in list_files(folder):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def without_state(folder):
    shutil.rmtree(folder / 'state')


def be_a_file(folder):
    shutil.rmtree(folder)
    folder.write_text('no checkpoint')


def be_another_model(folder):
    """Replaces a checkpoint with a whole checkpoint of a wider network."""
    config = make_config(model__width=6)
    optimizer = optimizers.make_optimizer(config, schedules.make_schedule(config, 5))
    expected = abstract_state(config, resnet.create_model(config, 10), optimizer)
    mesh = Mesh(np.array(jax.devices()[:1]), (parallel.AXIS,))
    state = jax.tree.map(lambda array: np.zeros(array.shape, array.dtype), expected)
    step = int(folder.name)
    metadata = reading.read_metadata(folder.parent, step)
    shutil.rmtree(folder)
    wide_folder = folder.parents[2] / 'wide' / 'checkpoints'
    with CheckpointWriter(wide_folder, keep=0, leading='top5') as writer:
        writer.save(parallel.replicate(state, mesh), metadata)
        writer.wait()
    restore_with(reading.restore, wide_folder.parent, step, config=config)
    shutil.copytree(wide_folder / str(step), folder)


DAMAGES = [cut_short, empty, without_state, be_a_file, be_another_model]


@pytest.mark.parametrize('damage', DAMAGES)
def test_a_damaged_checkpoint_is_moved_aside_and_the_next_older_used(damage, whole, copied, caplog):
    reference = restore(whole, 10)
    folder = copied / 'checkpoints'
    damage(folder / '15')
    before = read_all(folder / '15')
    with caplog.at_level(logging.INFO, logger='absl'):
        state, metadata = restore_newest_in(copied)
    assert metadata == reference[1]
    jax.tree.map(np.testing.assert_array_equal, state, reference[0])
    assert {path.name for path in folder.iterdir()} == {'5', '10', 'damaged-15'}
    assert read_all(folder / 'damaged-15') == before
    [message] = [text for text in caplog.messages if 'it is moved to' in text]
    assert f'{folder / "15"}: expected' in message
    assert message.endswith(f'it is moved to {folder / "damaged-15"}')


def test_a_validation_loss_of_nan_is_no_damage(tmp_path):
    config = make_config()
    optimizer = optimizers.make_optimizer(config, schedules.make_schedule(config, 5))
    expected = abstract_state(config, resnet.create_model(config, 10), optimizer)
    mesh = Mesh(np.array(jax.devices()[:1]), (parallel.AXIS,))
    state = jax.tree.map(lambda array: np.ones(array.shape, array.dtype), expected)
    scores = {'top5': 0.5, 'top1': 0.1, 'loss': math.nan}
    with CheckpointWriter(tmp_path / 'checkpoints', keep=0, leading='top5') as writer:
        writer.save(parallel.replicate(state, mesh), Metadata(5, 1.0, {}, scores))
        writer.wait()
    restored, metadata = restore_newest_in(tmp_path)
    assert math.isnan(metadata.scores['loss'])
    jax.tree.map(np.testing.assert_array_equal, restored, state)


def test_a_second_damaged_checkpoint_of_a_step_does_not_replace_the_first(copied, caplog):
    folder = copied / 'checkpoints'
    (folder / 'damaged-15').mkdir()
    (folder / 'damaged-15' / 'old').write_text('evidence')
    empty(folder / '15')
    restore_newest_in(copied)
    assert {path.name for path in folder.iterdir()} == {'5', '10', 'damaged-15', 'damaged-15-2'}
    assert caplog.text.strip().endswith(f'it is moved to {folder / "damaged-15-2"}')
    assert (folder / 'damaged-15' / 'old').read_text() == 'evidence'


@pytest.mark.parametrize('damage', DAMAGES)
def test_if_none_is_whole_all_are_listed_and_none_is_moved(damage, copied):
    for step in (5, 10, 15):
        damage(copied / 'checkpoints' / str(step))
        shutil.rmtree(copied.parent / 'wide', ignore_errors=True)
    before = read_all(copied)
    for _ in range(2):
        with pytest.raises(InputError, match='found only damaged ones') as error:
            train(copied)
        for step in (5, 10, 15):
            assert f'{copied / "checkpoints" / str(step)}: expected' in str(error.value)
        after = read_all(copied)
        assert {path: after[path] for path in before} == before
        assert {path.name for path in (copied / 'checkpoints').iterdir()} == {'5', '10', '15'}


def test_if_all_checkpoints_were_moved_aside_no_new_run_starts(copied):
    for step in (5, 10, 15):
        folder = copied / 'checkpoints'
        (folder / str(step)).rename(folder / f'damaged-{step}')
    before = read_all(copied)
    for _ in range(2):
        with pytest.raises(InputError, match='damaged-10'):
            train(copied)
    after = read_all(copied)
    assert {path: after[path] for path in before} == before


def test_a_run_continues_past_a_damaged_checkpoint_and_a_save_that_was_cut_off(whole, copied):
    folder = copied / 'checkpoints'
    cut_short(folder / '15')
    shutil.copytree(folder / '15', folder / '15.orbax-checkpoint-tmp')
    shutil.copytree(folder / '15' / 'state', folder / '20.orbax-checkpoint-tmp' / 'state')
    for path in folder.rglob('commit_success.txt'):
        path.unlink()
    train(copied)
    assert read_rows(copied) == read_rows(whole)
    assert_same_state(copied, whole, 15)
    assert {path.name for path in folder.glob('[0-9]*') if path.name.isdecimal()} == {
        '5', '10', '15'
    }  # fmt: skip
    assert (folder / 'damaged-15').is_dir()


def best_and_others(folder):
    best = selection.resolve(folder / 'checkpoints', 'best', 'top1')
    return best, [step for step in (5, 10, 15) if step != best]


@pytest.mark.parametrize('damage', [cut_short, be_another_model])
def test_evaluation_of_the_best_ignores_other_damaged_checkpoints(damage, whole, copied):
    best, others = best_and_others(whole)
    damage(copied / 'checkpoints' / str(others[0]))
    step, score = restore(whole, best)[1].step, restore(whole, best)[1].scores
    result = Run(copied).evaluate()
    assert (result.step, result.top5, result.top1) == (step, score['top5'], score['top1'])


@pytest.mark.parametrize('damage', DAMAGES)
def test_evaluation_of_a_damaged_checkpoint_is_bad_input(damage, whole, copied):
    best, _ = best_and_others(whole)
    damage(copied / 'checkpoints' / str(best))
    before = read_all(copied)
    with pytest.raises(InputError, match=str(best)):
        Run(copied).evaluate(checkpoint=best)
    with pytest.raises(InputError, match=str(best)):
        Run(copied).predictor(checkpoint=best)
    assert read_all(copied) == before


@pytest.mark.slow
def test_the_command_names_damaged_checkpoints_and_where_they_are_moved(tmp_path):
    flags = [f'--config.{name}={value}' for name, value in FIELDS.items()]
    run(DIGITS, tmp_path / 'whole', *flags)
    copied = shutil.copytree(tmp_path / 'whole', tmp_path / 'run')
    folder = copied / 'checkpoints'
    for path in list_files(folder / '15' / 'state' / 'ocdbt.process_0'):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    output = run(DIGITS, copied, *flags)
    assert f'it is moved to {folder / "damaged-15"}' in output
    assert 'continuing from step 10' in output
    assert 'Traceback' not in output
    assert read_rows(copied) == read_rows(tmp_path / 'whole')
    assert_same_state(copied, tmp_path / 'whole', 15)

    for step in (5, 10, 15):
        cut_short(folder / str(step))
    before = read_all(copied)
    output = run(DIGITS, copied, *flags, status=2)
    assert f'{folder / "10"}: expected a whole checkpoint' in output
    assert 'Traceback' not in output
    assert read_all(copied) == before


@pytest.mark.slow
@pytest.mark.parametrize('damage', ['empty', 'missing', 'flipped'])
def test_no_abandoned_read_prints_a_traceback(damage, whole, copied):
    """Orbax reads all arrays at once and, if one read fails, does not wait for the others."""
    for path in list_files(copied / 'checkpoints' / '15' / 'state' / 'd'):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        if damage == 'missing':
            path.unlink()
        else:
            path.write_bytes(b'' if damage == 'empty' else content)
    done = subprocess.run(
        [sys.executable, '-m', 'resnet_jax.evaluate', f'--workdir={copied}', '--checkpoint=15'],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert 'expected a whole checkpoint' in done.stderr
    assert 'Traceback' not in done.stderr
    assert 'never retrieved' not in done.stderr
