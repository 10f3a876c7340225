"""Start of devices, and placement of arrays on them."""

import importlib.metadata
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from resnet_jax.devices import backend, parallel, processes
from resnet_jax.errors import InputError


@pytest.fixture
def mesh():
    return Mesh(np.array(jax.devices()[:4]), (parallel.AXIS,))


def test_a_batch_is_split_in_order(mesh):
    batch = {'image': np.arange(8 * 2 * 2 * 3, dtype=np.uint8).reshape(8, 2, 2, 3)}
    batch['label'] = np.arange(8, dtype=np.int32)
    sharded = parallel.shard(batch, mesh)
    assert sharded['image'].shape == (4, 2, 2, 2, 3)
    assert sharded['label'].shape == (4, 2)
    assert sharded['label'].sharding.spec == PartitionSpec(parallel.AXIS)
    for i, piece in enumerate(sharded['label'].addressable_shards):
        assert piece.device == mesh.devices[i]
        np.testing.assert_array_equal(piece.data, [[2 * i, 2 * i + 1]])
    np.testing.assert_array_equal(np.asarray(sharded['image']).reshape(8, 2, 2, 3), batch['image'])


@pytest.mark.parametrize('rows', [1, 2, 3, 5, 7])
def test_rows_that_the_devices_cannot_share_are_an_error(mesh, rows):
    with pytest.raises(InputError, match=rf'batch_size = {rows}.*multiple of 4 \(4 devices\)'):
        parallel.shard({'label': np.zeros(rows, np.int32)}, mesh)


def test_replicated_arrays_keep_their_shape_and_lie_on_every_device(mesh):
    kernel = parallel.replicate({'kernel': np.ones((3, 5), np.float32)}, mesh)['kernel']
    assert kernel.shape == (3, 5)
    assert kernel.is_fully_replicated
    assert {piece.device for piece in kernel.addressable_shards} == set(mesh.devices.flat)
    assert all(piece.data.shape == (3, 5) for piece in kernel.addressable_shards)


def test_arrays_are_joined_across_processes_without_a_copy(mesh):
    kernel = parallel.replicate({'kernel': np.arange(15.0).reshape(3, 5)}, mesh)['kernel']
    joined = parallel.across_processes({'kernel': kernel}, mesh)['kernel']
    assert joined.sharding.is_equivalent_to(parallel.replicated(mesh), 2)
    np.testing.assert_array_equal(joined, kernel)
    for after, before in zip(joined.addressable_shards, kernel.addressable_shards, strict=True):
        assert after.data.unsafe_buffer_pointer() == before.data.unsafe_buffer_pointer()


@pytest.mark.parametrize(
    ('address', 'number', 'index'),
    [
        ('host:1234', 0, -1),
        ('', 2, -1),
        ('', 0, 0),
        ('host:1234', 2, -1),
        ('', 2, 1),
        ('host:1234', 2, 2),
    ],
)
def test_inconsistent_flags_of_processes_are_an_error(address, number, index):
    with pytest.raises(InputError, match='expected all three') as error:
        processes.start_processes(address, number, index)
    flags = f'--coordinator_address={address} --num_processes={number} --process_id={index}'
    assert flags in str(error.value)


def test_a_process_that_was_started_alone_runs_alone(monkeypatch):
    monkeypatch.setattr(jax.distributed, 'initialize', None)  # calling it would fail
    processes.start_processes('', 0, -1)
    assert processes.is_first_process()
    assert (processes.largest(15), processes.largest(0)) == (15, 0)


def test_a_mapped_function_sees_its_share_and_returns_without_a_device_axis(mesh):
    def add(offset, batch):
        return offset + lax.psum(batch['label'].sum(), parallel.AXIS)

    p_add = parallel.p_map(add, mesh)
    batch = parallel.shard({'label': np.arange(8, dtype=np.int32)}, mesh)
    total = p_add(parallel.replicate(np.int32(100), mesh), batch)
    assert total.shape == ()
    assert int(total) == 128


def test_the_first_devices_are_used():
    jax.devices()
    assert list(backend.start_devices(0).devices) == jax.devices()[:4]
    assert list(backend.start_devices(2).devices) == jax.devices()[:2]
    assert backend.start_devices(2).axis_names == ('batch',)


def test_more_devices_than_there_are_is_an_error():
    jax.devices()
    with pytest.raises(InputError, match=r'num_devices = 5: .*found 4.*JAX_NUM_CPU_DEVICES'):
        backend.start_devices(5)


def in_a_new_process(code, **environment):
    """Runs code after `import os, jax` and `parallel`, without this process's settings."""
    unset = ('NPROC', 'XLA_FLAGS', 'JAX_NUM_CPU_DEVICES')
    inherited = {key: value for key, value in os.environ.items() if key not in unset}
    code = f'import os, jax\nfrom resnet_jax.devices import backend, parallel\n{code}'
    done = subprocess.run(
        [sys.executable, '-c', code],
        capture_output=True,
        text=True,
        env=inherited | {'JAX_PLATFORMS': 'cpu'} | environment,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


CPU_FLAGS = [
    '--xla_cpu_experimental_ynn_fusion_type=dot,reduce',
    '--xla_disable_hlo_passes=cse_barrier_expander',
]
REPORT = 'print(len(jax.devices()), os.environ["NPROC"], os.environ["XLA_FLAGS"])'


def test_a_machine_without_a_gpu_gets_four_devices_and_threads_for_them():
    devices, threads, *flags = in_a_new_process(f'backend.start_devices(0)\n{REPORT}')
    assert devices == '4'
    assert int(threads) >= 16
    assert flags == CPU_FLAGS


def test_deterministic_kernels_are_requested_together_with_the_other_settings():
    code = f'backend.start_devices(1, deterministic=True)\n{REPORT}'
    _, _, *flags = in_a_new_process(code)
    assert flags == ['--xla_gpu_deterministic_ops=true', *CPU_FLAGS]
    _, _, *flags = in_a_new_process(code, XLA_FLAGS='--xla_cpu_enable_fast_math=false')
    assert flags == ['--xla_cpu_enable_fast_math=false', '--xla_gpu_deterministic_ops=true']


def test_with_a_plugin_for_gpus_the_flag_for_recomputation_is_not_set(monkeypatch):
    monkeypatch.setenv('XLA_FLAGS', '')
    monkeypatch.setattr(importlib.metadata, 'entry_points', lambda group: [group])
    backend._set_cpu_flags()
    assert os.environ['XLA_FLAGS'].split() == CPU_FLAGS[:1]


RECOMPUTE = """
backend.start_devices(1)
block = jax.checkpoint(lambda x: jax.numpy.sin(jax.numpy.sin(x) @ x))
step = jax.jit(jax.grad(lambda x: block(block(x)).sum()))
print(step.lower(jax.numpy.ones((8, 8))).compile().as_text().count(' dot('))
"""


def test_a_cpu_recomputes_what_was_not_kept():
    [recomputed] = in_a_new_process(RECOMPUTE)
    [merged] = in_a_new_process(RECOMPUTE, XLA_FLAGS='--xla_cpu_enable_fast_math=false')
    assert int(recomputed) > int(merged)


def test_as_many_devices_are_simulated_as_requested():
    devices, threads, *_ = in_a_new_process(f'backend.start_devices(6)\n{REPORT}')
    assert devices == '6'
    assert int(threads) >= 24


def test_the_users_settings_are_left_alone():
    settings = in_a_new_process(
        f'backend.start_devices(2)\n{REPORT}',
        NPROC='11',
        XLA_FLAGS='--xla_cpu_enable_fast_math=false',
    )
    assert settings == ['2', '11', '--xla_cpu_enable_fast_math=false']


def test_four_devices_work_together_with_the_threads_they_get():
    code = """
import numpy as np
mesh = backend.start_devices(0)
p_sum = parallel.p_map(lambda x, batch: x + jax.lax.psum(batch.sum(), parallel.AXIS), mesh)
total = parallel.replicate(np.float32(0), mesh)
batch = parallel.shard(np.ones((4, 1), np.float32), mesh)
for _ in range(300):
    total = p_sum(total, batch)
print(float(total))
"""
    assert in_a_new_process(code) == ['1200.0']


def test_all_devices_uses_the_devices_as_jax_was_started():
    code = 'print(backend.all_devices().devices.size)'
    assert in_a_new_process(code) == ['1']
    assert in_a_new_process(code, JAX_NUM_CPU_DEVICES='3') == ['3']
