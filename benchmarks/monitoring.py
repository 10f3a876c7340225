"""Benchmark of `machine.csv`: time of one row, compared with the steps between two rows.

    python benchmarks/monitoring.py [--rows=200]

It trains ResNet-18 on digits for a few epochs on four simulated devices, as `./launch.sh` does.
Then it writes rows of the machine's counters to the CSV and to TensorBoard, as the training loop
does. The exit status is 1 if a row takes 0.5 % or more of the time of the steps.
"""

import argparse
import io
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from resnet_jax.config import data_sets, schema
from resnet_jax.console.signals import StopRequest
from resnet_jax.console.terminal import Terminal
from resnet_jax.devices import backend
from resnet_jax.monitoring.machine import Machine
from resnet_jax.monitoring.machine_log import MachineLog
from resnet_jax.monitoring.tensorboard import EventWriter
from resnet_jax.storage.machine_csv import read_machine
from resnet_jax.training import loop

ALLOWED = 0.005
"""The time of a row must be below this fraction of the time of the steps between two rows."""


def measure_row(folder, mesh, rows):
    """Returns the seconds that each row takes, except the first.

    Args:
      folder: folder for the files.
      mesh: the devices.
      rows: number of rows to write.
    """
    log = MachineLog(folder / 'machine.csv', Machine(mesh.local_devices), 0)
    events = EventWriter(folder / 'tensorboard', 0)
    seconds = []
    for step in range(1, rows + 1):
        time.sleep(0.01)  # the counters of the host do not change more often
        start = time.perf_counter()
        counters = log.add_row(step, {'images_per_second': 1.0})
        scalars = {f'machine/{name}': value for name, value in counters.items()}
        events.write_scalars(step, scalars)
        seconds.append(time.perf_counter() - start)
    return seconds[1:]  # the first row replaces the whole file


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rows', type=int, default=200)
    arguments = parser.parse_args()
    config = data_sets.use_data(schema.get_config(), 'digits')
    config.num_epochs = 5
    config.schedule.boundaries_epochs = ()
    mesh = backend.start_devices(0)
    with tempfile.TemporaryDirectory() as temporary:
        run = Path(temporary) / 'run'
        loop.train(config, run, Terminal(io.StringIO()), StopRequest())
        speeds = [
            float(row['images_per_second']) for row in read_machine(run / 'machine.csv')[1][1:]
        ]
        (Path(temporary) / 'rows').mkdir()
        seconds = measure_row(Path(temporary) / 'rows', mesh, arguments.rows)
    step = config.batch_size / np.median(speeds)
    between = step * config.log_every_steps
    share = np.mean(seconds) / between
    mean, median, most = (1000 * f(seconds) for f in (np.mean, np.median, np.max))
    print(f'one row              {mean:.2f} ms (median {median:.2f}, most {most:.2f})')
    print(f'one step             {1000 * step:.0f} ms, digits ResNet-18, batch {config.batch_size}')
    print(f'steps between rows   {config.log_every_steps} (log_every_steps)')
    print(f'share of the time    {share:.4%} (allowed: {ALLOWED:.1%})')
    print(f'with a row each step {share * config.log_every_steps:.3%}')
    sys.exit(int(share >= ALLOWED))


if __name__ == '__main__':
    main()
