"""Counters of NVIDIA GPUs, read with NVML."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import pynvml

Sample = dict[str, float | None]
"""Values of counters by column; None if a counter cannot be read."""


def find_gpus() -> Mapping[int, Any]:
    """Returns NVML's handles by GPU index; empty on a machine without NVIDIA's driver."""
    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError:
        return {}
    read_handle = pynvml.nvmlDeviceGetHandleByIndex
    handles = {i: _query(functools.partial(read_handle, i)) for i in range(count)}
    return {index: handle for index, handle in handles.items() if handle is not None}


def read_gpu(gpu: Any) -> Sample:
    """Returns the counters of a GPU.

    Args:
      gpu: handle from `find_gpus`.
    """
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
    """Returns NVML's answer; None if the GPU, the driver or missing permission prevents one."""
    try:
        return read()
    except pynvml.NVMLError:
        return None
