"""Fake NVML with two GPUs, for machines without a GPU."""

import types

import pynvml


class FakeNvml:
    """Fake of `pynvml`.

    Args:
      errors: NVML error that a call raises, by the name of the call.
      count: number of GPUs.
    """

    NVMLError = pynvml.NVMLError
    NVML_TEMPERATURE_GPU = pynvml.NVML_TEMPERATURE_GPU

    def __init__(self, errors=None, count=2):
        self.errors = errors or {}
        self.count = count

    def answer(self, name, value):
        if name in self.errors:
            raise pynvml.NVMLError(self.errors[name])
        return value

    def nvmlInit(self):  # noqa: N802
        self.answer('nvmlInit', None)

    def nvmlDeviceGetCount(self):  # noqa: N802
        return self.answer('nvmlDeviceGetCount', self.count)

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        return self.answer(f'nvmlDeviceGetHandleByIndex {index}', f'gpu {index}')

    def nvmlDeviceGetUtilizationRates(self, gpu):  # noqa: N802
        rates = types.SimpleNamespace(gpu=0 if gpu == 'gpu 0' else 97, memory=40)
        return self.answer('nvmlDeviceGetUtilizationRates', rates)

    def nvmlDeviceGetMemoryInfo(self, gpu):  # noqa: N802
        memory = types.SimpleNamespace(total=12 * 2**30, used=11 * 2**30, free=2**30)
        return self.answer('nvmlDeviceGetMemoryInfo', memory)

    def nvmlDeviceGetPowerUsage(self, gpu):  # noqa: N802
        return self.answer('nvmlDeviceGetPowerUsage', 149_500)

    def nvmlDeviceGetTemperature(self, gpu, sensor):  # noqa: N802
        assert sensor == 0
        return self.answer('nvmlDeviceGetTemperature', 83)
