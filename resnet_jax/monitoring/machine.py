"""What the machine is doing: its NVIDIA GPUs, JAX's devices, the host and this process."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import psutil
import pynvml

Sample = dict[str, float | None]
"""Numbers by column; None where one could not be read."""


class Machine:
    """Reads the counters of a machine.

    Args:
      devices: JAX's, whose memory is read.
    """

    def __init__(self, devices: Sequence[jax.Device]):
        self._devices = [device for device in devices if device.memory_stats() is not None]
        self._gpus = _find_gpus()
        self._process = psutil.Process()
        psutil.cpu_percent()  # the first call has nothing to compare with

    def sample(self) -> Sample:
        """Returns what the counters say now, in the same columns each time.

        - `gpu<i>_utilisation_percent`, `_memory_used_bytes`, `_memory_total_bytes`, `_power_w` and
          `_temperature_c`: of each NVIDIA GPU of the machine, whoever uses it, as NVML counts them.
          Without one there are no such columns. The utilisation is NVML's own mean of the last
          second or less.
        - `device<i>_memory_in_use_bytes`: what JAX has allocated on its ith device (it takes most
          of a GPU's memory at once, so NVML's number says little). CPU devices do not count it.
        - `host_cpu_percent`: since the last call, of all cores. `host_memory_used_bytes`.
        - `process_memory_bytes`: resident.
        """
        found: Sample = {}
        for index, gpu in self._gpus.items():
            found |= {f'gpu{index}_{name}': value for name, value in _read_gpu(gpu).items()}
        for index, device in enumerate(self._devices):
            stats = device.memory_stats() or {}
            found[f'device{index}_memory_in_use_bytes'] = stats.get('bytes_in_use')
        return found | {
            'host_cpu_percent': psutil.cpu_percent(),
            'host_memory_used_bytes': psutil.virtual_memory().used,
            'process_memory_bytes': self._process.memory_info().rss,
        }


def _find_gpus() -> Mapping[int, Any]:
    """Returns NVML's handles by number; none on a machine without NVIDIA's driver."""
    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError:
        return {}
    handles = {i: _query(lambda i=i: pynvml.nvmlDeviceGetHandleByIndex(i)) for i in range(count)}
    return {index: handle for index, handle in handles.items() if handle is not None}


def _read_gpu(gpu: Any) -> Sample:
    utilisation = _query(lambda: pynvml.nvmlDeviceGetUtilizationRates(gpu))
    memory = _query(lambda: pynvml.nvmlDeviceGetMemoryInfo(gpu))
    milliwatts = _query(lambda: pynvml.nvmlDeviceGetPowerUsage(gpu))
    return {
        'utilisation_percent': utilisation and utilisation.gpu,
        'memory_used_bytes': memory and memory.used,
        'memory_total_bytes': memory and memory.total,
        'power_w': milliwatts and milliwatts / 1000,
        'temperature_c': _query(
            lambda: pynvml.nvmlDeviceGetTemperature(gpu, pynvml.NVML_TEMPERATURE_GPU)
        ),
    }


def _query(read: Callable[[], Any]) -> Any:
    """Returns what NVML answers; None where this GPU, driver or user may not ask."""
    try:
        return read()
    except pynvml.NVMLError:
        return None
