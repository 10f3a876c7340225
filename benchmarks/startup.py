"""Times a command from its start to its first step: ResNet-18 on digits, first and later starts.

    python benchmarks/startup.py [--rounds=3] [--json]

The first start has an empty compilation cache; the later ones find what it compiled. A step is over
when its line is in the log.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import rounds


def time_first_step(cache: Path, flags: list[str]) -> float:
    """Returns the seconds from the start of a new run to the line about its first step."""
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
    """Times."""
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
    found = {'to the first step': rounds.summarise(seconds, 'first start')}
    rounds.report(found, as_json=arguments.json)


if __name__ == '__main__':
    main()
