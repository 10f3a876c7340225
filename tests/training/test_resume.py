"""A run that is killed and continued equals an undisturbed run, bit for bit."""

import json
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf
from support.running import (
    BEFORE_COMPILING,
    BEFORE_THE_START,
    DIGITS,
    SMALL,
    WHILE_COMPILING_FOREVER,
    assert_close_state,
    assert_same_state,
    before_saving,
    finish,
    in_step,
    read_rows,
    read_tensorboard_steps,
    run,
    start_and_halt,
    wait_until_received,
    while_saving,
)

from resnet_jax.data import pipeline
from resnet_jax.data.order import record_elements
from resnet_jax.data.sources import registry

RUN = (
    *SMALL,
    '--config.num_epochs=12',
    '--config.batch_size=64',  # 22 steps an epoch
    '--config.checkpoint_every_steps=5',
    '--config.log_every_steps=4',
    '--config.ema_decay=0.99',
    '--config.schedule.boundaries_epochs=(5, 8)',
)
LAST_STEP = 12 * 22


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """Undisturbed run."""
    folder = tmp_path_factory.mktemp('whole')
    run(DIGITS, folder, *RUN)
    return folder


def assert_same_run(folder, whole):
    assert read_rows(folder) == read_rows(whole)
    assert len(read_rows(folder)) == 12
    for step in (22, LAST_STEP - 4, LAST_STEP):
        assert_same_state(folder, whole, step)
    for tag in ('train/loss', 'validation/top5'):
        assert read_tensorboard_steps(folder, tag) == read_tensorboard_steps(whole, tag)
    best = [sorted((path / 'checkpoints').glob('[0-9]*')) for path in (folder, whole)]
    assert [path.name for path in best[0]] == [path.name for path in best[1]]


MOMENTS = (BEFORE_THE_START, while_saving(25), in_step(47), before_saving(66), in_step(93))
"""The evaluation of step 66 is written when its checkpoint is not."""


@pytest.mark.slow
def test_five_kills_change_nothing(whole, tmp_path):
    for moment in MOMENTS:
        process = start_and_halt(moment, DIGITS, tmp_path, *RUN)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    assert (tmp_path / 'metrics.csv').read_text().count('\n') == 1 + 4  # 22, 44, 66, 88
    run(DIGITS, tmp_path, *RUN)
    assert_same_run(tmp_path, whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('number', 'status'),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)],
    ids=['SIGTERM', 'SIGINT', 'SIGHUP'],
)
def test_a_stop_signal_saves_the_step_and_changes_nothing(number, status, whole, tmp_path):
    process = start_and_halt(in_step(27), DIGITS, tmp_path, *RUN)
    process.send_signal(number)
    process.send_signal(signal.SIGCONT)
    output = finish(process, status)
    assert 'the same command continues' in output
    assert 'Traceback' not in output
    steps = [int(path.name) for path in (tmp_path / 'checkpoints').glob('[0-9]*')]
    assert f'at step {max(steps)} of {LAST_STEP}' in output
    run(DIGITS, tmp_path, *RUN)
    extra = {step for step in steps if step % 5 and step % 22}
    for step in extra:
        shutil.rmtree(tmp_path / 'checkpoints' / str(step))
    assert_same_run(tmp_path, whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('moment', 'message'),
    [
        (BEFORE_THE_START, 'stopped by SIGTERM before the first step; run the same command again'),
        (BEFORE_COMPILING, f'stopped by SIGTERM at step 1 of {LAST_STEP}, which is saved'),
    ],
    ids=['start', 'compiling'],
)
def test_a_stop_signal_at_the_start_or_while_compiling_ends_the_command(moment, message, tmp_path):
    process = start_and_halt(moment, DIGITS, tmp_path, *RUN)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    assert message in finish(process, 143)


@pytest.mark.slow
def test_a_second_interrupt_ends_the_command_at_once(tmp_path):
    process = start_and_halt(WHILE_COMPILING_FOREVER, DIGITS, tmp_path, *RUN)
    process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGINT)
    wait_until_received(signal.SIGINT, process)
    process.send_signal(signal.SIGINT)
    assert 'the same command' not in finish(process, 130)  # it did not wait for the step
    assert not list((tmp_path / 'checkpoints').glob('[0-9]*'))


@pytest.mark.parametrize('start_step', [1, 10, 11, 12, 21])
def test_the_stream_of_examples_follows_from_the_step(tiny_config, start_step):
    source = registry.load_source(tiny_config, 'train')
    whole = list(pipeline.train_batches(source, tiny_config, start_step=0))
    rest = list(pipeline.train_batches(source, tiny_config, start_step=start_step))
    assert len(rest) == len(whole) - start_step
    for batch, expected in zip(rest, whole[start_step:], strict=True):
        np.testing.assert_array_equal(batch['id'], expected['id'])
        np.testing.assert_array_equal(batch['image'], expected['image'])


def test_starting_at_a_position_reads_no_earlier_group(tmp_path):
    class File:
        def __init__(self, number):
            self.filename = str(tmp_path / f'{number}.tfrecord')
            self.skip, self.take = 0, 10
            with tf.io.TFRecordWriter(self.filename) as writer:
                for record in range(10):
                    writer.write(f'{number} {record}'.encode())

    elements = record_elements([File(number) for number in range(8)], 2)
    seed = tf.constant([0, 0], tf.int64)
    whole = [int(element['id']) for element in elements(seed, tf.constant(0, tf.int64))]
    assert sorted(whole) == list(range(80))

    for start_at in (0, 1, 19, 20, 55):
        rest = [int(e['id']) for e in elements(seed, tf.constant(start_at, tf.int64))]
        assert rest == whole[start_at:]
    first_group = {index // 10 for index in whole[:20]}
    for number in first_group:
        (tmp_path / f'{number}.tfrecord').unlink()
    rest = [int(e['id']) for e in elements(seed, tf.constant(20, tf.int64))]
    assert rest == whole[20:]


@pytest.mark.slow
def test_a_run_continues_on_other_numbers_of_devices(tmp_path):
    flags = (
        *SMALL,
        '--config.batch_size=64',
        '--config.model.sync_batch_norm=true',
        '--config.optimizer.learning_rate=0.005',
        '--config.checkpoint_every_steps=4',
    )
    whole, moved = tmp_path / 'whole', tmp_path / 'moved'
    run(DIGITS, whole, *flags, '--config.num_epochs=1')
    shutil.copytree(whole, moved)
    for step in (8, 12, 16, 20, 22):
        shutil.rmtree(moved / 'checkpoints' / str(step))
    for devices in (1, 2, 8):
        output = run(
            DIGITS, moved, *flags, '--config.num_epochs=1', f'--config.num_devices={devices}'
        )
        assert 'continuing from step 4' in output
        assert 'batch norm computes' not in output  # synchronised, whatever the devices
        environment = json.loads((moved / 'environment.json').read_text())
        assert len(environment['devices']) == devices
        [row], [expected] = read_rows(moved), read_rows(whole)
        for key, value in row.items():
            assert float(value) == pytest.approx(float(expected[key]), rel=1e-4), key
        assert_close_state(moved, whole, 12)  # later, rounding switches a unit that is close to 0
        for step in (8, 12, 16, 20, 22):
            shutil.rmtree(moved / 'checkpoints' / str(step))
