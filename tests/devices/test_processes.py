"""Training with two processes of two devices equals training with one process of four devices."""

import signal
import socket

import jax
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
from resnet_jax.errors import InputError, RunFailed

RUN = (
    *SMALL,
    '--config.batch_size=64',
    '--config.num_epochs=1',  # rounding grows from step to step
    '--config.log_every_steps=5',
    '--config.optimizer.learning_rate=0.005',
)


@pytest.fixture
def address():
    """Yields a free address that no process but a gRPC server, which shares its port, can take."""
    with socket.socket() as reservation:
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reservation.bind(('127.0.0.1', 0))
        yield f'127.0.0.1:{reservation.getsockname()[1]}'


def start_pair(address, folder, *flags):
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
def test_two_processes_compute_what_one_does(synchronised, address, tmp_path):
    flags = (*RUN, f'--config.model.sync_batch_norm={synchronised}')
    pair, alone = tmp_path / 'pair', tmp_path / 'alone'
    outputs = [finish(process) for process in start_pair(address, pair, *flags)]
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
def test_a_process_that_dies_ends_the_other(address, tmp_path):
    first, second = start_pair(address, tmp_path, *RUN, '--config.num_epochs=200')
    wait_until((tmp_path / 'checkpoints' / '22').exists, first)
    second.kill()
    output, _ = first.communicate(timeout=240)  # it notices after HEARTBEAT_TIMEOUT_SECONDS
    assert first.returncode != 0
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
def test_a_stop_signal_to_one_process_stops_both_at_the_same_step(address, tmp_path):
    first, second = start_pair(address, tmp_path, *RUN, '--config.num_epochs=200')
    wait_until((tmp_path / 'checkpoints' / '22').exists, first)
    second.send_signal(signal.SIGINT)
    outputs = finish(first, 130), finish(second, 130)
    assert all('stopped by SIGINT at step' in output for output in outputs)
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


@pytest.mark.parametrize(
    'address',
    [
        *('host', 'host:', ':1234', 'host:0', 'host:65536', 'host:1e3', 'host:-1', 'ho st:1234'),
        *('::1:1234', '[::1]', 'host:' + '9' * 5000, 'h\udce9:1234', 'http://host:1234'),
    ],
)
def test_an_address_without_a_port_is_refused(monkeypatch, address):
    monkeypatch.setattr(jax.distributed, 'initialize', None)  # calling it would fail
    with pytest.raises(InputError, match='expected host:port with a port of 1 to 65535'):
        processes.start_processes(address, 2, 0)


@pytest.mark.parametrize('address', ['host:1234', '10.0.0.1:1', 'a-b.c_d:65535', '[fe80::1%0]:80'])
def test_an_address_with_a_port_is_used(monkeypatch, address):
    started = []
    monkeypatch.setattr(jax.distributed, 'initialize', lambda **fields: started.append(fields))
    monkeypatch.setattr(jax.config, 'update', lambda *_: None)
    processes.start_processes(address, 2, 0)
    assert started[0]['coordinator_address'] == address


@pytest.mark.parametrize(
    'flags', [('h:1', 0, -1), ('', 2, 0), ('h:1', 2, 2), ('h:1', 2, -1), ('h:1', 10**12, 0)]
)
def test_flags_of_processes_that_contradict_each_other_are_refused(monkeypatch, flags):
    monkeypatch.setattr(jax.distributed, 'initialize', None)
    with pytest.raises(InputError, match='0 <= process_id < num_processes <= 65536'):
        processes.start_processes(*flags)


SLURM = {
    'SLURM_STEP_ID': '0',
    'SLURM_JOB_ID': '7',
    'SLURM_STEP_NODELIST': 'localhost',
    'SLURM_NTASKS': '2',
    'SLURM_PROCID': '0',
    'SLURM_LOCALID': '0',
}


@pytest.mark.parametrize(
    ('environment', 'expected'),
    [
        (SLURM | {'SLURM_NTASKS': 'abc'}, 'SLURM_NTASKS=abc: expected the number of processes'),
        (SLURM | {'SLURM_NTASKS': ''}, 'SLURM_NTASKS=: expected'),
        (SLURM | {'SLURM_NTASKS': '-2'}, 'SLURM_NTASKS=-2: expected'),
        (SLURM | {'SLURM_NTASKS': '9' * 5000}, 'SLURM_NTASKS=99999999999999999999: expected'),
        (SLURM | {'SLURM_PROCID': 'first'}, "found: .*'first'; give --coordinator_address"),
        (SLURM | {'SLURM_PROCID': '2'}, 'expected the environment of srun or mpirun'),
        ({'OMPI_COMM_WORLD_SIZE': 'two'}, 'OMPI_COMM_WORLD_SIZE=two: expected'),
        ({'OMPI_COMM_WORLD_SIZE': '2'}, 'expected the environment of srun or mpirun'),
    ],
)
def test_a_wrong_environment_of_a_launcher_is_refused(monkeypatch, environment, expected):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(jax.config, 'update', lambda *_: None)
    # Other tests of this process have used devices, after which JAX reads no environment.
    monkeypatch.setattr('jax._src.xla_bridge.backends_are_initialized', lambda: False)
    with pytest.raises(InputError, match=expected):
        processes.start_processes('', 0, -1)


def test_processes_that_do_not_find_each_other_fail_the_run(monkeypatch):
    def fail(**_):
        raise RuntimeError('DEADLINE_EXCEEDED')

    monkeypatch.setattr(jax.distributed, 'initialize', fail)
    monkeypatch.setattr(jax.config, 'update', lambda *_: None)
    with pytest.raises(RunFailed, match='process 1 cannot connect .* DEADLINE_EXCEEDED; check'):
        processes.start_processes('host:1', 2, 1)
