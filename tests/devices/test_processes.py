"""Training with two processes of two devices equals training with one process of four devices."""

import signal
import socket
import time

import numpy as np
import pytest
from support.running import (
    DIGITS,
    SMALL,
    assert_close_state,
    finish,
    read_rows,
    run,
    start,
    wait_until,
)

from resnet_jax.data import pipeline
from resnet_jax.data.sources import registry
from resnet_jax.devices import processes

RUN = (
    *SMALL,
    '--config.batch_size=64',
    '--config.num_epochs=1',  # rounding grows from step to step
    '--config.log_every_steps=5',
    '--config.optimizer.learning_rate=0.005',
)


def start_pair(folder, *flags):
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        address = f'127.0.0.1:{probe.getsockname()[1]}'
    return [
        start(
            DIGITS,
            folder,
            *flags,
            '--config.num_devices=2',
            f'--coordinator_address={address}',
            '--num_processes=2',
            f'--process_id={process}',
        )
        for process in range(2)
    ]


@pytest.mark.slow
@pytest.mark.parametrize('synchronised', ['true', 'false'])
def test_two_processes_compute_what_one_does(synchronised, tmp_path):
    flags = (*RUN, f'--config.model.sync_batch_norm={synchronised}')
    pair, alone = tmp_path / 'pair', tmp_path / 'alone'
    outputs = [finish(process) for process in start_pair(pair, *flags)]
    run(DIGITS, alone, *flags)
    assert 'complete' in outputs[0]
    rows, expected = read_rows(pair), read_rows(alone)
    assert [row['step'] for row in rows] == ['22']
    for row, expected_row in zip(rows, expected, strict=True):
        for key, value in row.items():
            assert float(value) == pytest.approx(float(expected_row[key]), rel=1e-4), key
    assert_close_state(pair, alone, 22)
    assert len(list((pair / 'tensorboard').glob('*.v2'))) == 1  # CLU's
    assert [path.name for path in (pair / 'confusion').iterdir()] == ['22.npz']

    # One process continues the run of two processes, on another number of devices.
    output = run(DIGITS, pair, *flags, '--config.num_epochs=2', '--config.num_devices=1')
    assert 'continuing from step 22' in output
    assert [row['step'] for row in read_rows(pair)] == ['22', '44']


@pytest.mark.slow
def test_a_process_that_dies_ends_the_other_within_a_minute(tmp_path):
    first, second = start_pair(tmp_path, *RUN, '--config.num_epochs=200')
    wait_until((tmp_path / 'checkpoints' / '22').exists, first)
    second.kill()
    began = time.monotonic()
    output, _ = first.communicate(timeout=90)
    assert first.returncode != 0
    assert time.monotonic() - began < 60
    assert output
    second.communicate()
    # The checkpoints are whole: one process continues from the newest.
    alone = start(DIGITS, tmp_path, *RUN, '--config.num_epochs=200')
    output = []
    for line in alone.stdout:
        output.append(line)
        if 'continuing from step' in line:
            break
    alone.kill()
    alone.communicate()
    assert 'continuing from step' in output[-1], ''.join(output)
    assert not list((tmp_path / 'checkpoints').glob('damaged*'))


@pytest.mark.slow
def test_a_stop_signal_to_one_process_stops_both_at_the_same_step(tmp_path):
    first, second = start_pair(tmp_path, *RUN, '--config.num_epochs=200')
    wait_until((tmp_path / 'checkpoints' / '22').exists, first)
    second.send_signal(signal.SIGTERM)
    outputs = finish(first, 143), finish(second, 143)
    [step] = {output.split(' at step ')[1].split()[0] for output in outputs}
    assert (tmp_path / 'checkpoints' / step).is_dir()


@pytest.mark.parametrize('count', [1, 2, 4])
def test_the_processes_rows_make_up_the_same_batches(tiny_config, count):
    source = registry.load_source(tiny_config, 'train')
    whole = list(pipeline.train_batches(source, tiny_config, start_step=3))
    parts = [
        list(
            pipeline.train_batches(
                source, tiny_config, start_step=3, process=processes.Process(index, count)
            )
        )
        for index in range(count)
    ]
    for batch, *shares in zip(whole, *parts, strict=True):
        for key, array in batch.items():
            np.testing.assert_array_equal(np.concatenate([part[key] for part in shares]), array)


@pytest.mark.parametrize('batch_size', [8, 100, 360, 720])
def test_evaluation_sees_each_example_in_exactly_one_process(tiny_config, batch_size):
    source = registry.load_source(tiny_config, 'validation')
    parts = [
        list(
            pipeline.evaluation_batches(
                source, tiny_config, batch_size=batch_size, process=processes.Process(index, 4)
            )
        )
        for index in range(4)
    ]
    assert {len(part) for part in parts} == {-(-360 // batch_size)}
    batches = [np.concatenate([part[i]['id'] for part in parts]) for i in range(len(parts[0]))]
    ids = np.concatenate(batches)
    np.testing.assert_array_equal(ids[ids >= 0], np.arange(360))
