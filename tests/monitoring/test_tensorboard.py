"""TensorBoard events: groups of tags, sessions that replace steps, and no empty files."""

import math
import shutil

import pytest
from support.paths import FIXTURES
from support.running import read_tensorboard_steps
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from resnet_jax.errors import RunFailed
from resnet_jax.monitoring.tensorboard import EventWriter


def write(run, steps, start_step=0, tag='train/loss'):
    writer = EventWriter(run / 'tensorboard', start_step)
    for step in steps:
        writer.write_scalars(step, {tag: 0.5})


def test_a_session_replaces_the_later_steps_of_the_last_one(tmp_path):
    write(tmp_path, [2, 4, 6])
    write(tmp_path, [6, 8], start_step=4)
    assert read_tensorboard_steps(tmp_path, 'train/loss') == [2, 4, 6, 8]


def test_a_session_that_writes_nothing_leaves_no_file(tmp_path):
    write(tmp_path, [])
    EventWriter(tmp_path / 'tensorboard', 0).write_scalars(1, {'machine/speed': math.nan})
    assert list(tmp_path.iterdir()) == []


def test_what_was_not_measured_is_left_out(tmp_path):
    writer = EventWriter(tmp_path / 'tensorboard', 0)
    writer.write_scalars(1, {'machine/images_per_second': math.nan, 'train/loss': 2.0})
    tags = EventAccumulator(str(tmp_path / 'tensorboard')).Reload().Tags()['tensors']
    assert tags == ['train/loss']


def test_a_run_that_began_with_ungrouped_tags_continues_with_groups(tmp_path):
    shutil.copytree(FIXTURES / 'run_0_1_0' / 'tensorboard', tmp_path / 'tensorboard')
    assert read_tensorboard_steps(tmp_path, 'train_loss') == [2, 4, 6]
    write(tmp_path, [6, 8], start_step=5)
    assert read_tensorboard_steps(tmp_path, 'train_loss') == [2, 4]  # step 6 runs again
    assert read_tensorboard_steps(tmp_path, 'train/loss') == [6, 8]


def test_events_that_cannot_be_written_say_why(tmp_path):
    (tmp_path / 'tensorboard').write_text('in the way')
    with pytest.raises(RunFailed, match='TensorBoard events cannot be written: .'):
        write(tmp_path, [1])
