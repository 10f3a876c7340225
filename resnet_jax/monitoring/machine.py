"""What the machine is doing: its NVIDIA GPUs, JAX's devices, the host and this process."""

from collections.abc import Sequence

import jax
import psutil

from resnet_jax.devices.nvidia import Sample, find_gpus, read_gpu


class Machine:
    """Reads the counters of a machine.

    Args:
      devices: JAX's, whose memory is read.
    """

    def __init__(self, devices: Sequence[jax.Device]):
        self._devices = [device for device in devices if device.memory_stats() is not None]
        self._gpus = find_gpus()
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
            found |= {f'gpu{index}_{name}': value for name, value in read_gpu(gpu).items()}
        for index, device in enumerate(self._devices):
            stats = device.memory_stats() or {}
            found[f'device{index}_memory_in_use_bytes'] = stats.get('bytes_in_use')
        return found | {
            'host_cpu_percent': psutil.cpu_percent(),
            'host_memory_used_bytes': psutil.virtual_memory().used,
            'process_memory_bytes': self._process.memory_info().rss,
        }
