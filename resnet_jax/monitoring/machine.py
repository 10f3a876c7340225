"""Machine counters: NVIDIA GPUs, JAX's devices, the host and this process."""

from collections.abc import Sequence

import jax
import psutil

from resnet_jax.devices.nvidia import Sample, find_gpus, read_gpu


class Machine:
    """Reader of the machine's counters.

    Args:
      devices: JAX devices whose memory is read.
    """

    def __init__(self, devices: Sequence[jax.Device]):
        self._devices = [device for device in devices if device.memory_stats() is not None]
        self._gpus = find_gpus()
        self._process = psutil.Process()
        psutil.cpu_percent()  # starts the interval: the first call returns no meaningful number

    def sample(self) -> Sample:
        """Returns the current values of the counters, with the same columns in each call.

        - `gpu<i>_utilisation_percent`, `_memory_used_bytes`, `_memory_total_bytes`, `_power_w` and
          `_temperature_c`: NVML's counters for each NVIDIA GPU of the machine, whichever process
          uses it. Without such a GPU, there are no such columns. The utilisation is NVML's own mean
          over the last second or less.
        - `device<i>_memory_in_use_bytes`: memory allocated by JAX on its ith device. (JAX reserves
          most of a GPU's memory at once, so NVML's number says little.) CPU devices have no such
          column.
        - `host_cpu_percent`: mean load of all cores since the last call.
        - `host_memory_used_bytes`: memory of the host in use.
        - `process_memory_bytes`: resident memory of this process.
        """
        sample: Sample = {}
        for index, gpu in self._gpus.items():
            sample |= {f'gpu{index}_{name}': value for name, value in read_gpu(gpu).items()}
        for index, device in enumerate(self._devices):
            stats = device.memory_stats() or {}
            sample[f'device{index}_memory_in_use_bytes'] = stats.get('bytes_in_use')
        return sample | {
            'host_cpu_percent': psutil.cpu_percent(),
            'host_memory_used_bytes': psutil.virtual_memory().used,
            'process_memory_bytes': self._process.memory_info().rss,
        }
