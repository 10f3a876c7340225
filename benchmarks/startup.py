"""Benchmark of start-up: time from a command to its first step, with ResNet-18 on digits.

    python benchmarks/startup.py [--rounds=3] [--json]

The first start has an empty compilation cache; the second start uses the programs that the first
one compiled. The first step is over when its line is in the log.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import rounds


def time_first_step(cache: Path, flags: list[str]) -> float:
    """Returns the seconds from the start of a new run to the line of its first step in the log.

    Args:
      cache: folder of the compilation cache.
      flags: flags of the command.

    Raises:
      RuntimeError: if the run ends before its first step.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, '-m', 'resnet_jax.main', *flags, f'--workdir={folder}/run']
        command += [f'--compilation_cache_dir={cache}', '--config.log_every_steps=1']
        start = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        lines = []
        for line in process.stdout:
            lines.append(line)
            if '[1]' in line and 'train_loss' in line:
                seconds = time.perf_counter() - start
                process.kill()
                process.wait()
                return seconds
    raise RuntimeError(f'expected a first step, found:\n{"".join(lines)}')


def main() -> None:
    """Times first and second starts in rounds."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--json', action='store_true')
    parser.add_argument('--config', default='configs/resnet18.py:digits')
    arguments = parser.parse_args()
    flags = [f'--config={arguments.config}']
    seconds = {'first start': [], 'second start': []}
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as cache:
            for times in seconds.values():
                times.append(time_first_step(Path(cache), flags))
    tables = {'to the first step': rounds.summarise(seconds, 'first start')}
    rounds.report(tables, as_json=arguments.json)


if __name__ == '__main__':
    main()
