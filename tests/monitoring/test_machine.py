"""Machine counters: GPUs through a fake NVML, JAX's devices, the host; missing counters."""

import pynvml
import pytest
from support.nvml import FakeNvml

from resnet_jax.devices import nvidia
from resnet_jax.monitoring.machine import Machine

HOST_COLUMNS = ['host_cpu_percent', 'host_memory_used_bytes', 'process_memory_bytes']


class FakeDevice:
    def __init__(self, stats):
        self.memory_stats = lambda: stats


@pytest.fixture
def install(monkeypatch):
    def install(fake):
        monkeypatch.setattr(nvidia, 'pynvml', fake)

    return install


def test_the_fake_has_the_names_of_the_real_package():
    names = [name for name in dir(FakeNvml) if name.lower().startswith('nvml')]
    assert len(names) == 9
    assert [name for name in names if not hasattr(pynvml, name)] == []
    assert [field for field, _ in pynvml.c_nvmlMemory_t._fields_] == ['total', 'free', 'used']
    assert [field for field, _ in pynvml.c_nvmlUtilization_t._fields_] == ['gpu', 'memory']


def test_each_gpu_has_its_columns_in_the_agreed_order(install):
    install(FakeNvml())
    sample = Machine([FakeDevice({'bytes_in_use': 5, 'peak_bytes_in_use': 7})] * 2).sample()
    expected = {
        'gpu0_utilisation_percent': 0,
        'gpu0_memory_used_bytes': 11 * 2**30,
        'gpu0_memory_total_bytes': 12 * 2**30,
        'gpu0_power_w': 149.5,
        'gpu0_temperature_c': 83,
        'gpu1_utilisation_percent': 97,
        'gpu1_memory_used_bytes': 11 * 2**30,
        'gpu1_memory_total_bytes': 12 * 2**30,
        'gpu1_power_w': 149.5,
        'gpu1_temperature_c': 83,
        'device0_memory_in_use_bytes': 5,
        'device1_memory_in_use_bytes': 5,
    }
    assert list(sample) == [*expected, *HOST_COLUMNS]
    assert {name: sample[name] for name in expected} == expected


@pytest.mark.parametrize(
    ('errors', 'count'),
    [
        ({'nvmlInit': pynvml.NVML_ERROR_LIBRARY_NOT_FOUND}, 2),
        ({'nvmlInit': pynvml.NVML_ERROR_DRIVER_NOT_LOADED}, 2),
        ({'nvmlDeviceGetCount': pynvml.NVML_ERROR_UNKNOWN}, 2),
        ({}, 0),
    ],
)
def test_without_a_gpu_its_columns_are_absent(install, errors, count, caplog, recwarn):
    install(FakeNvml(errors, count))
    assert list(Machine([FakeDevice(None)]).sample()) == HOST_COLUMNS
    assert not caplog.records
    assert not recwarn.list


def test_a_gpu_without_permission_does_not_affect_the_others(install):
    install(FakeNvml({'nvmlDeviceGetHandleByIndex 0': pynvml.NVML_ERROR_NO_PERMISSION}))
    sample = Machine([]).sample()
    assert [name for name in sample if name.startswith('gpu')] == [
        f'gpu1_{name}'
        for name in (
            'utilisation_percent',
            'memory_used_bytes',
            'memory_total_bytes',
            'power_w',
            'temperature_c',
        )
    ]


@pytest.mark.parametrize(
    ('call', 'error', 'empty'),
    [
        ('nvmlDeviceGetPowerUsage', pynvml.NVML_ERROR_NOT_SUPPORTED, ['power_w']),
        ('nvmlDeviceGetTemperature', pynvml.NVML_ERROR_FUNCTION_NOT_FOUND, ['temperature_c']),
        ('nvmlDeviceGetUtilizationRates', pynvml.NVML_ERROR_GPU_IS_LOST, ['utilisation_percent']),
        (
            'nvmlDeviceGetMemoryInfo',
            pynvml.NVML_ERROR_UNKNOWN,
            ['memory_used_bytes', 'memory_total_bytes'],
        ),
    ],
)
def test_a_counter_that_a_gpu_cannot_read_is_none_and_the_others_are_read(
    install, call, error, empty
):
    fake = FakeNvml(count=1)
    install(fake)
    reader = Machine([])
    before = reader.sample()
    assert None not in before.values()
    fake.errors[call] = error
    after = reader.sample()
    assert list(after) == list(before)
    assert [name for name, value in after.items() if value is None] == [f'gpu0_{x}' for x in empty]


def test_the_counters_of_the_host_are_plausible():
    sample = Machine([]).sample()
    assert 0 <= sample['host_cpu_percent'] <= 100
    assert 2**20 < sample['process_memory_bytes'] < 2**40
    assert 2**24 < sample['host_memory_used_bytes'] < 2**50
