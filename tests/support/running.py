"""The training command in processes of its own, and what it leaves behind."""

import csv
import io
import os
import subprocess
import sys
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
from support.paths import ROOT
from tensorboard.backend.event_processing.plugin_event_accumulator import (
    TENSORS,
    EventAccumulator,
)

DIGITS = 'configs/resnet18.py:digits'

SMALL = ('--config.model.depth=8', '--config.model.width=8', '--config.keep_checkpoints=0')

CLEAR = '\r\x1b[2K'
"""What replaces the progress line."""


class FakeTerminal(io.StringIO):
    def isatty(self):
        return True


def start(config, workdir, *flags, **environment):
    """Starts the command as a user would, without the settings of the tests' own process."""
    unset = ('NPROC', 'XLA_FLAGS', 'JAX_NUM_CPU_DEVICES')
    variables = {key: value for key, value in os.environ.items() if key not in unset}
    return subprocess.Popen(
        [sys.executable, '-m', 'resnet_jax.main', f'--config={config}', f'--workdir={workdir}']
        + list(flags),
        cwd=ROOT,
        env=variables | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process, status=0, seconds=240):
    """Waits for the end of a command, and returns what it printed."""
    output, _ = process.communicate(timeout=seconds)
    assert process.returncode == status, output
    return output


def run(config, workdir, *flags, status=0):
    return finish(start(config, workdir, *flags), status)


def wait_until(condition, process, seconds=120):
    """Waits for a condition while the process lives."""
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.01)


def command(name, *arguments, **environment):
    """Runs a command of the package to its end, its output apart."""
    return subprocess.run(
        [sys.executable, '-m', f'resnet_jax.{name}', *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=120,
    )


MEASURED = ('images_per_second', 'input_wait_fraction')


def read_rows(workdir):
    """Returns the rows of the metrics, without the one column that is a measurement of time."""
    rows = list(csv.DictReader((workdir / 'metrics.csv').open()))
    return [{key: row[key] for key in row if key not in MEASURED} for row in rows]


def read_state(workdir, step):
    """Returns the arrays of a checkpoint as they lie on the disk."""
    path = (workdir / 'checkpoints' / str(step) / 'state').absolute()
    reader = ocp.PyTreeCheckpointer()
    as_numpy = jax.tree.map(
        lambda _: ocp.RestoreArgs(restore_type=np.ndarray),
        dict(reader.metadata(path).item_metadata.tree),
    )
    return reader.restore(path, restore_args=as_numpy)


def assert_same_state(one, other, step):
    jax.tree.map(np.testing.assert_array_equal, read_state(one, step), read_state(other, step))


def read_tensorboard_steps(workdir, tag):
    """Returns the steps of a scalar as TensorBoard shows them, all of them."""
    folder = str(workdir / 'tensorboard')
    accumulator = EventAccumulator(folder, size_guidance={TENSORS: 0}).Reload()
    if tag not in accumulator.Tags()['tensors']:
        return []
    return [event.step for event in accumulator.Tensors(tag)]


def assert_close_state(one, other, step):
    """Compares to the rounding of some steps, relative to each array's largest value."""
    for (path, array), reference in zip(
        jax.tree_util.tree_leaves_with_path(read_state(one, step)),
        jax.tree.leaves(read_state(other, step)),
        strict=True,
    ):
        scale = np.abs(reference).max()
        np.testing.assert_allclose(array, reference, rtol=0, atol=1e-4 * scale, err_msg=str(path))
