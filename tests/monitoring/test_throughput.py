"""Training speed and input wait: which time counts, and that only idle devices wait."""

import math
import threading
import time

import pytest

from resnet_jax.monitoring import throughput
from resnet_jax.monitoring.throughput import InputWait, Throughput


class Clock:
    now = 0.0


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test advances."""
    monkeypatch.setattr(time, 'perf_counter', lambda: Clock.now)
    Clock.now = 100.0
    return Clock


def count(speed, clock, waits, seconds):
    """Runs the clock for a number of seconds, with one step for each of the waits."""
    speed.resume()
    for seconds_waited in waits:
        speed.add_step(seconds_waited)
    clock.now += seconds
    speed.pause()


def test_only_steps_and_waits_while_the_clock_runs_count(clock):
    speed = Throughput(batch_size=8)
    assert all(map(math.isnan, speed.rates()))
    speed.add_step(50.0)
    count(speed, clock, [0.5, 0.0, 0.25, 0.0, 0.0], seconds=2)
    assert speed.rates() == (5 * 8 / 2, 0.75 / 2)
    clock.now += 7
    speed.add_step(50.0)
    count(speed, clock, [0.0] * 11, seconds=2)
    assert speed.rates() == (16 * 8 / 4, 0.75 / 4)


def test_after_a_reset_the_last_rates_hold_until_a_step_is_counted(clock):
    speed = Throughput(batch_size=8)
    count(speed, clock, [1.0], seconds=2)
    assert speed.rates() == (4, 0.5)
    speed.reset()
    count(speed, clock, [], seconds=3)
    assert speed.rates() == (4, 0.5)
    count(speed, clock, [0.0], seconds=5)
    assert speed.rates() == (1, 0)


def test_a_reset_does_not_affect_laps(clock):
    speed = Throughput(batch_size=8)
    assert all(map(math.isnan, speed.end_lap()))
    count(speed, clock, [1.0, 1.0], seconds=4)
    speed.reset()
    count(speed, clock, [0.0, 0.0], seconds=4)
    assert speed.end_lap() == (4, 0.25)
    assert all(map(math.isnan, speed.end_lap()))
    count(speed, clock, [3.0], seconds=4)
    assert speed.end_lap() == (2, 0.75)


class Devices:
    """Fake devices that finish a step when a test says so."""

    def __init__(self, monkeypatch):
        self.done = threading.Event()
        monkeypatch.setattr(throughput.jax, 'block_until_ready', lambda _: self.done.wait(60))

    def finish(self, wait):
        """Ends the step and waits until the watcher has noticed it."""
        self.done.set()
        assert wait._step_end.exception(60) is None


def batch_after(*events):
    """Yields one batch after it has called all `events`."""
    for event in events:
        event()
    yield 'batch'


def tick(clock, seconds):
    def pass_time():
        clock.now += seconds

    return pass_time


def test_devices_that_still_compute_do_not_wait(clock, monkeypatch):
    devices, wait = Devices(monkeypatch), InputWait()
    wait.watch('outputs')
    assert list(wait.timed(batch_after(tick(clock, 5)))) == [('batch', 0)]
    devices.done.set()


def test_the_wait_begins_when_the_step_before_ends(clock, monkeypatch):
    devices, wait = Devices(monkeypatch), InputWait()
    wait.watch('outputs')
    events = tick(clock, 5), lambda: devices.finish(wait), tick(clock, 3)
    assert list(wait.timed(batch_after(*events))) == [('batch', 3)]


def test_the_wait_begins_when_the_batch_is_requested(clock, monkeypatch):
    devices, wait = Devices(monkeypatch), InputWait()
    wait.watch('outputs')
    devices.finish(wait)
    clock.now += 5
    assert list(wait.timed(batch_after(tick(clock, 3)))) == [('batch', 3)]


def test_waiting_for_the_very_first_batch_does_not_count(clock):
    assert list(InputWait().timed(batch_after(tick(clock, 3)))) == [('batch', 0)]


def test_waiting_after_a_failed_step_does_not_count(clock, monkeypatch):
    def fail(_):
        raise RuntimeError

    monkeypatch.setattr(throughput.jax, 'block_until_ready', fail)
    wait = InputWait()
    wait.watch('outputs')
    assert isinstance(wait._step_end.exception(60), RuntimeError)
    assert list(wait.timed(batch_after(tick(clock, 3)))) == [('batch', 0)]
