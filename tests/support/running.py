"""Training command in separate processes, and readers of the files that it writes."""

import atexit
import csv
import io
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from support.paths import ROOT
from tensorboard.backend.event_processing.plugin_event_accumulator import (
    TENSORS,
    EventAccumulator,
)

DIGITS = 'configs/resnet18.py:digits'

SMALL = (
    *('--config.model.depth=8', '--config.model.width=8', '--config.keep_checkpoints=0'),
    *('--config.batch_size=128', '--config.log_every_steps=11', '--config.ema_decay=0.0'),
    *('--config.schedule.name=step', '--config.schedule.warmup_epochs=3'),
)
"""A small network and 11 steps an epoch; the schedule does not depend on the number of epochs."""

CLEAR = '\r\x1b[2K'
"""Characters that erase the progress line."""


class FakeTerminal(io.StringIO):
    def isatty(self):
        return True


def start(config, workdir, *flags, program=('-m', 'resnet_jax.main')):
    """Starts the command as a user does, without the settings of the test process."""
    unset = ('NPROC', 'XLA_FLAGS', 'JAX_NUM_CPU_DEVICES')
    return subprocess.Popen(
        [sys.executable, *program, f'--config={config}', f'--workdir={workdir}', *flags],
        cwd=ROOT,
        env={key: value for key, value in os.environ.items() if key not in unset},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


_PREAMBLE = """
import os, runpy, signal, threading
from resnet_jax.checkpoints.writing import CheckpointWriter
from resnet_jax.training import loop
from resnet_jax.training.metrics_logger import MetricsLogger

# Tests that run under nohup or in the background of a script ignore these.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

def halt():
    os.kill(os.getpid(), signal.SIGSTOP)

def halt_before(owner, name, is_moment, continues=lambda *_: True):
    function = getattr(owner, name)
    def halting(*arguments, **options):
        if is_moment(*arguments):
            halt()
            while not continues(*arguments):
                threading.Event().wait(0.01)
        return function(*arguments, **options)
    setattr(owner, name, halting)

def always(*_):
    return True
"""

BEFORE_THE_START = """
halt_before(loop, 'prepare_job', always, lambda _, __, ___, request: request.signal)
"""
BEFORE_COMPILING = """
halt_before(loop, '_compile_train_step', always, lambda job, *_: job.request.signal)
"""
"""At these two moments, the command waits for a signal before it goes on."""

WHILE_COMPILING_FOREVER = """
loop._compile_train_step = lambda *_: (halt(), threading.Event().wait())
"""


def in_step(step):
    return f"halt_before(MetricsLogger, 'add', lambda _, step, *__: step == {step})"


def before_saving(step):
    return f"halt_before(CheckpointWriter, 'save', lambda _, __, data: data.step == {step})"


def while_saving(step):
    """Returns the moment when the devices are done with a checkpoint that is not yet written."""
    return f"""
save = CheckpointWriter.save
def save_and_halt(self, state, metadata):
    save(self, state, metadata)
    if metadata.step == {step}:
        halt()
CheckpointWriter.save = save_and_halt
"""


def after_saving(step):
    """Returns the moment when a checkpoint is on the disk and the next one is not begun."""
    return while_saving(step).replace('halt()', 'self.wait(); halt()')


def start_and_halt(moment, config, workdir, *flags):
    """Starts the command and returns once it has halted itself at a moment; SIGCONT continues it.

    Args:
      moment: one of the moments above.
      config: as in `start`.
      workdir: as in `start`.
      flags: as in `start`.
    """
    code = f"{_PREAMBLE}{moment}\nrunpy.run_module('resnet_jax.main', run_name='__main__')"
    process = start(config, workdir, *flags, program=('-c', code))
    atexit.register(process.kill)  # a test that fails may never continue it
    options = os.WSTOPPED | os.WEXITED | os.WNOWAIT
    if os.waitid(os.P_PID, process.pid, options).si_code != os.CLD_STOPPED:
        raise AssertionError(process.communicate()[0])
    return process


def wait_until_received(number, process):
    """Waits until a running process has received a signal, which can then be sent again."""

    def is_received():
        status = Path(f'/proc/{process.pid}/status').read_text()
        return not any(
            int(line.split()[1], 16) >> (number - 1) & 1
            for line in status.splitlines()
            if line.startswith(('SigPnd', 'ShdPnd'))
        )

    wait_until(is_received, process)


def finish(process, status=0, seconds=240):
    """Waits for the end of a command and returns its output."""
    output, _ = process.communicate(timeout=seconds)
    assert process.returncode == status, output
    return output


def run(config, workdir, *flags, status=0):
    return finish(start(config, workdir, *flags), status)


def wait_until(condition, process, seconds=120):
    """Waits for a condition; fails if the process ends or the time is up."""
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.01)


def command(name, *arguments, **environment):
    """Runs a command of the package to its end; stdout and stderr are captured separately."""
    return subprocess.run(
        [sys.executable, '-m', f'resnet_jax.{name}', *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=120,
    )


MEASURED = ('images_per_second', 'input_wait_fraction')


def read_rows(workdir):
    """Returns the rows of `metrics.csv`, without the columns that depend on the speed."""
    rows = list(csv.DictReader((workdir / 'metrics.csv').open()))
    return [{key: row[key] for key in row if key not in MEASURED} for row in rows]


def read_state(workdir, step):
    """Returns the arrays of a checkpoint as they are stored on the disk."""
    path = (workdir / 'checkpoints' / str(step) / 'state').absolute()
    reader = ocp.PyTreeCheckpointer()
    as_numpy = jax.tree.map(
        lambda _: ocp.RestoreArgs(restore_type=np.ndarray),
        dict(reader.metadata(path).item_metadata.tree),
    )
    return reader.restore(path, restore_args=as_numpy)


def assert_same_state(workdir, reference, step):
    states = read_state(workdir, step), read_state(reference, step)
    jax.tree.map(np.testing.assert_array_equal, *states)


def read_tensorboard_steps(workdir, tag):
    """Returns all steps of a scalar that TensorBoard shows."""
    folder = str(workdir / 'tensorboard')
    accumulator = EventAccumulator(folder, size_guidance={TENSORS: 0}).Reload()
    if tag not in accumulator.Tags()['tensors']:
        return []
    return [event.step for event in accumulator.Tensors(tag)]


def assert_close_state(workdir, reference, step):
    """Compares up to the rounding of a few steps, relative to each array's largest value."""
    for (path, actual), expected in zip(
        jax.tree_util.tree_leaves_with_path(read_state(workdir, step)),
        jax.tree.leaves(read_state(reference, step)),
        strict=True,
    ):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4 * scale, err_msg=str(path))
