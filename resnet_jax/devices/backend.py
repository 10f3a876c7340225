"""Starting JAX's backend: GPUs or simulated CPU devices, and XLA's flags."""

import contextlib
import importlib.metadata
import os

import jax
import jaxlib
import numpy as np
from jax.sharding import Mesh

from resnet_jax.devices.parallel import AXIS
from resnet_jax.errors import InputError

SIMULATED_DEVICES = 4
"""How many CPU devices stand for the four GPUs of the experiment."""


KEEP_RECOMPUTATION = {'xla_disable_hlo_passes': 'cse_barrier_expander'}
"""Option of XLA's compiler for CPUs, which without it undoes `jax.checkpoint` outside of loops.

The pass takes away the barriers between equal computations, and another one then merges them.
"""


_TESTED_JAXLIB = '0.10.2'


def start_devices(num_devices: int, *, deterministic: bool = False) -> Mesh:
    """Starts the backend and returns the devices that train, those of all processes.

    Args:
      num_devices: of this process; 0 means every GPU, or four simulated CPU devices on a machine
        without one.
      deterministic: on GPUs, use only kernels that give the same bits every time.

    Raises:
      InputError: when there are fewer devices than that.
    """
    if deterministic:
        _add_xla_flag('--xla_gpu_deterministic_ops=true')
    _prepare_cpu(num_devices or SIMULATED_DEVICES)
    devices = jax.local_devices()
    on_cpu = devices[0].platform == 'cpu'
    wanted = num_devices or (SIMULATED_DEVICES if on_cpu else len(devices))
    if wanted > len(devices):
        remedy = (
            'JAX had started before, so the number of simulated devices is fixed: set '
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
    """Returns every device that this process has: the GPUs, or the CPU as JAX was started."""
    _set_cpu_flags()
    return Mesh(np.array(jax.local_devices()), (AXIS,))


def start_one_cpu() -> Mesh:
    """Returns one CPU device and leaves GPUs alone, for what is compiled and not run."""
    _set_cpu_flags()
    jax.config.update('jax_platforms', 'cpu')
    return Mesh(np.array(jax.devices('cpu')[:1]), (AXIS,))


def _prepare_cpu(num_devices: int) -> None:
    """Asks for simulated devices, unless the backend runs already.

    XLA's thread pool must hold a thread for every device of a collective and some for the work,
    or the devices wait for each other for ever; the variable NPROC sizes it.
    """
    _set_cpu_flags()
    os.environ.setdefault('NPROC', str(max(4 * num_devices, os.cpu_count() or 1)))
    with contextlib.suppress(RuntimeError):
        jax.config.update('jax_num_cpu_devices', num_devices)


def _set_cpu_flags() -> None:
    """Sets flags of XLA for CPUs, unless the user has set some.

    Eigen runs convolutions 1.3 times as fast as jaxlib 0.10.2's choice; XLA aborts on flags that it
    does not know, so only that version gets them. `KEEP_RECOMPUTATION` is not for GPUs, so it is
    left out where JAX has a plugin for some.
    """
    flags = os.environ.get('XLA_FLAGS', '').replace('--xla_gpu_deterministic_ops=true', '').strip()
    if jaxlib.__version__ != _TESTED_JAXLIB or flags:
        return
    _add_xla_flag('--xla_cpu_experimental_ynn_fusion_type=dot,reduce')
    if not importlib.metadata.entry_points(group='jax_plugins'):
        for name, value in KEEP_RECOMPUTATION.items():
            _add_xla_flag(f'--{name}={value}')


def _add_xla_flag(flag: str) -> None:
    flags = os.environ.get('XLA_FLAGS', '')
    if flag not in flags.split():
        os.environ['XLA_FLAGS'] = f'{flags} {flag}'.strip()
