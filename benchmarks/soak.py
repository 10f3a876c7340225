"""Soak test: disturbs a small run at random, and counts the faults that it does not survive.

    python benchmarks/soak.py --minutes=20 [--seed=0]

A reference run is not disturbed. Then the same command trains in one new folder after another.
Until a run is complete, it is killed or stopped by signals, and files of its newest checkpoint are
truncated or deleted, or have a bit flipped. Checksums of its checkpoints and rows of its metrics
must equal those of the reference. The exit status is 1 if they do not.
"""

import argparse
import collections
import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]

COMMAND = (
    *(sys.executable, '-m', 'resnet_jax.main', '--config=configs/resnet18.py:digits'),
    *('--config.model.depth=8', '--config.model.width=4', '--config.num_epochs=10'),
    *('--config.batch_size=64', '--config.checkpoint_every_steps=7', '--config.ema_decay=0.99'),
    *('--config.schedule.warmup_epochs=1', '--config.log_every_steps=4'),
)

SIGNALS = {
    'SIGKILL': (signal.SIGKILL, -signal.SIGKILL),
    'SIGTERM': (signal.SIGTERM, 143),
    'SIGINT': (signal.SIGINT, 130),
    'SIGHUP': (signal.SIGHUP, 129),
}


def start(folder, *flags):
    """Starts the command in a folder, and returns its process."""
    return subprocess.Popen(
        [*COMMAND, f'--workdir={folder}', *flags],
        cwd=ROOT,
        stdout=(folder.parent / f'{folder.name}.log').open('a'),
        stderr=subprocess.STDOUT,
    )


def read_rows(folder):
    """Returns the rows of `metrics.csv`, without the columns that depend on the machine."""
    rows = list(csv.DictReader((folder / 'metrics.csv').open()))
    measured = ('images_per_second', 'input_wait_fraction')
    return [{key: row[key] for key in row if key not in measured} for row in rows]


def read_checksums(folder):
    """Returns the checksums of the arrays of each checkpoint, by step."""
    paths = folder.glob('checkpoints/*/metadata/metadata')
    return {
        int(path.parts[-3]): json.loads(path.read_text())['checksums']
        for path in paths
        if path.parts[-3].isdecimal()
    }


def damage_newest(folder, rng):
    """Damages a random file of the newest checkpoint, if there is an older one.

    Returns:
      The kind of the damage, or None.
    """
    steps = sorted(
        int(p.name) for p in (folder / 'checkpoints').glob('[0-9]*') if p.name.isdecimal()
    )
    if len(steps) < 2:
        return None
    newest = folder / 'checkpoints' / str(steps[-1])
    files = sorted(path for path in newest.rglob('*') if path.is_file() and path.stat().st_size)
    path = rng.choice(files)
    kind = rng.choice(['truncated', 'flipped', 'deleted'])
    content = bytearray(path.read_bytes())
    if kind == 'deleted':
        path.unlink()
    elif kind == 'truncated':
        path.write_bytes(content[: rng.randrange(len(content))])
    else:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
    return kind


def disturb(folder, rng, faults, deadline):
    """Runs the command until the run is complete, and injects faults.

    Args:
      folder: folder of the run.
      rng: source of random numbers.
      faults: counter of the injected faults by kind, which is updated.
      deadline: time of `time.monotonic` after which the command is not started again.

    Returns:
      Whether the run is complete.

    Raises:
      RuntimeError: if the command exits with a status that it should not have.
      subprocess.TimeoutExpired: if it does not end in time.
    """
    while time.monotonic() < deadline:
        process = start(folder)
        name = rng.choice([*SIGNALS, None]) if rng.random() < 0.9 else None
        try:
            status = process.wait(rng.uniform(0, 16) if name else 300)
        except subprocess.TimeoutExpired:
            if name is None:
                process.kill()
                raise
            process.send_signal(SIGNALS[name][0])
            status = process.wait(120)
            faults[name] += 1
            # -N: the process had not installed its handlers yet; 0: it was just complete.
            allowed = {SIGNALS[name][1], -SIGNALS[name][0], 0}
            if status not in allowed:
                raise RuntimeError(f'{folder}: exit status {status} after {name}') from None
        if status == 0:
            return True
        if rng.random() < 0.3:
            kind = damage_newest(folder, rng)
            if kind:
                faults[kind] += 1
    return False


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--minutes', type=float, required=True)
    parser.add_argument('--seed', type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
    for number in (
        signal.SIGHUP,
        signal.SIGINT,
    ):  # ignored under nohup; the command would inherit it
        signal.signal(number, signal.SIG_DFL)
    faults, runs, differences = collections.Counter(), 0, []
    with tempfile.TemporaryDirectory() as temporary:
        reference = Path(temporary) / 'reference'
        if start(reference, '--config.keep_checkpoints=0').wait() != 0:
            sys.exit(f'the reference run failed: {(Path(temporary) / "reference.log").read_text()}')
        rows, checksums = read_rows(reference), read_checksums(reference)
        deadline = time.monotonic() + 60 * arguments.minutes
        while time.monotonic() < deadline:
            folder = Path(temporary) / f'run{runs}'
            try:
                complete = disturb(folder, rng, faults, deadline)
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                differences.append(str(error))
                print((Path(temporary) / f'{folder.name}.log').read_text()[-4000:])
                break
            if not complete:
                break
            runs += 1
            saved = read_checksums(folder)
            wrong = [step for step in saved if step in checksums and saved[step] != checksums[step]]
            rows_differ = read_rows(folder) != rows
            if wrong or rows_differ or max(saved) != max(checksums):
                differences.append(f'{folder}: steps {wrong}, rows {rows_differ}')
    print(f'minutes          {arguments.minutes:g}')
    print(f'faults injected  {sum(faults.values())}: {dict(faults)}')
    print(f'faults survived  {sum(faults.values()) - len(differences)}')
    print(f'runs completed   {runs}, each compared with the undisturbed one')
    print(f'differences      {len(differences)}', *differences, sep='\n  ')
    sys.exit(bool(differences))


if __name__ == '__main__':
    main()
