"""Start of JAX's backend: GPUs or simulated CPU devices, and XLA's flags."""

import contextlib
import importlib.metadata
import os

import jax
import jaxlib.version
import numpy as np
from jax.sharding import Mesh

from resnet_jax.devices.parallel import AXIS
from resnet_jax.errors import InputError

SIMULATED_DEVICES = 4
"""Number of CPU devices that simulate the four GPUs of the experiment."""

KEEP_RECOMPUTATION = {'xla_disable_hlo_passes': 'cse_barrier_expander'}
"""Option that stops XLA's compiler for CPUs from undoing `jax.checkpoint` outside of loops.

The disabled pass removes barriers between equal computations; a later pass then merges these.
"""

_TESTED_JAXLIB = '0.10.2'


def start_devices(num_devices: int, *, deterministic: bool = False) -> Mesh:
    """Starts the backend and returns the training devices of all processes.

    Args:
      num_devices: number of devices of each process; 0 means every GPU, or four simulated CPU
        devices on a machine without a GPU.
      deterministic: whether GPUs use only kernels that give the same bits every time.

    Raises:
      InputError: if this process has fewer devices.
    """
    if deterministic:
        _add_xla_flag('--xla_gpu_deterministic_ops=true')
    _prepare_cpu(num_devices or SIMULATED_DEVICES)
    devices = jax.local_devices()
    on_cpu = devices[0].platform == 'cpu'
    wanted = num_devices or (SIMULATED_DEVICES if on_cpu else len(devices))
    if wanted > len(devices):
        remedy = (
            'JAX has already started, so the number of simulated devices is fixed; set '
            'JAX_NUM_CPU_DEVICES before the process starts'
            if on_cpu
            else f'set it to {len(devices)} or less, or to 0 for all of them'
        )
        raise InputError(
            f'config.num_devices = {num_devices}: expected at least {wanted} devices, found '
            f'{len(devices)} ({devices[0].device_kind}); {remedy}'
        )
    by_process = [
        jax.local_devices(process_index=process)[:wanted] for process in range(jax.process_count())
    ]
    return Mesh(np.concatenate([np.array(devices) for devices in by_process]), (AXIS,))


def all_devices() -> Mesh:
    """Returns every device of this process: the GPUs, or JAX's CPU devices without a GPU."""
    _set_cpu_flags()
    return Mesh(np.array(jax.local_devices()), (AXIS,))


def start_one_cpu() -> Mesh:
    """Returns one CPU device, without touching GPUs, for programs that are only compiled."""
    _set_cpu_flags()
    jax.config.update('jax_platforms', 'cpu')
    return Mesh(np.array(jax.devices('cpu')[:1]), (AXIS,))


def _prepare_cpu(num_devices: int) -> None:
    """Requests simulated CPU devices, unless the backend has already started.

    XLA's thread pool needs one thread for each device of a collective operation and more for the
    work. With too few, the devices wait for each other forever. The variable NPROC sets its size.
    """
    _set_cpu_flags()
    os.environ.setdefault('NPROC', str(max(4 * num_devices, os.cpu_count() or 1)))
    with contextlib.suppress(RuntimeError):
        jax.config.update('jax_num_cpu_devices', num_devices)


def _set_cpu_flags() -> None:
    """Sets XLA's flags for CPUs, unless the user has set XLA flags.

    The first flag makes Eigen run the convolutions, which was 1.3 times as fast as the default of
    jaxlib 0.10.2. XLA aborts on unknown flags, so the flags are set for that version only.
    `KEEP_RECOMPUTATION` must not affect GPUs, so it is left out if JAX has a plugin for GPUs.
    """
    flags = os.environ.get('XLA_FLAGS', '').replace('--xla_gpu_deterministic_ops=true', '').strip()
    if jaxlib.version.__version__ != _TESTED_JAXLIB or flags:
        return
    _add_xla_flag('--xla_cpu_experimental_ynn_fusion_type=dot,reduce')
    if not importlib.metadata.entry_points(group='jax_plugins'):
        for name, value in KEEP_RECOMPUTATION.items():
            _add_xla_flag(f'--{name}={value}')


def _add_xla_flag(flag: str) -> None:
    flags = os.environ.get('XLA_FLAGS', '')
    if flag not in flags.split():
        os.environ['XLA_FLAGS'] = f'{flags} {flag}'.strip()
