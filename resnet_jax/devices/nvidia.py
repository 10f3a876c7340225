"""Counters of NVIDIA GPUs, read with NVML."""

from collections.abc import Callable, Mapping
from typing import Any

import pynvml

Sample = dict[str, float | None]
"""Numbers by column; None where one could not be read."""


def find_gpus() -> Mapping[int, Any]:
    """Returns NVML's handles by number; none on a machine without NVIDIA's driver."""
    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError:
        return {}
    handles = {i: _query(lambda i=i: pynvml.nvmlDeviceGetHandleByIndex(i)) for i in range(count)}
    return {index: handle for index, handle in handles.items() if handle is not None}


def read_gpu(gpu: Any) -> Sample:
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
