"""Hostile cases: runs every command on bad input, and counts what it does not survive.

    python benchmarks/hostile.py [--seed=0] [--cases=300] [--workers=2] [--only=TEXT]

Each case gets a new copy of a small folder: a run that was trained on digits, photographs, and
files of weights. It runs one command and checks three things: that there is no traceback, that the
exit status is one of those that the case allows, and that no file changed except those that the
command writes. The seed chooses the values of the config fields and the bytes that are damaged. The
exit status is 1 if a check fails.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import PIL.Image
from hostile_cases import BAD, DIGITS, DONE, FAILED, ROOT, TINY, Case, make_cases

SECONDS = 300
"""Time limit of a case."""

BYTES = 8 * 2**30
"""Limit of the memory of a case."""


def make_template(folder: Path) -> None:
    """Fills a folder with a small run, photographs and weights."""
    for split in ('train', 'validation'):
        for name in ('cat', 'dog'):
            parent = folder / 'photos' / split / name
            parent.mkdir(parents=True)
            for number in range(4):
                pixels = np.random.default_rng(number).integers(0, 256, (24, 32, 3), np.uint8)
                PIL.Image.fromarray(pixels).save(parent / f'{number}.png')
    (folder / 'empty').mkdir()
    (folder / 'text.txt').write_text('not an image\n')
    run = run_command(folder, 'main', (DIGITS, *TINY, '--workdir=run'))
    if run.returncode != DONE:
        sys.exit(f'the run of the template failed:\n{run.stderr}')
    export = ('--workdir=run', '--output=weights.safetensors', '--format=safetensors')
    if run_command(folder, 'export', export).returncode != DONE:
        sys.exit('the export of the template failed')


def run_command(folder, command, arguments, environment=None, stdout=None, signals=None):
    """Runs a command in a folder to its end and returns status, output and errors."""
    environment = {'TF_CPP_MIN_LOG_LEVEL': '2', 'JAX_NUM_CPU_DEVICES': '1'} | (environment or {})
    with contextlib.ExitStack() as stack:
        output = subprocess.PIPE
        if stdout == 'closed':
            reader, writer = os.pipe()
            os.close(reader)
            output = stack.enter_context(os.fdopen(writer, 'wb'))
        elif stdout:
            output = stack.enter_context(Path(stdout).open('wb'))
        process = subprocess.Popen(
            [sys.executable, '-m', f'resnet_jax.{command}', *arguments],
            cwd=folder,
            env=os.environ | {'PYTHONPATH': str(ROOT)} | environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (BYTES, BYTES)),
        )
        if signals:
            number, delay = signals
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(delay)
            process.send_signal(number)
        try:
            out, errors = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            out, errors = process.communicate()
            errors += b'\nTraceback: none, but the time limit'
    text = [(stream or b'').decode(errors='replace') for stream in (out, errors)]
    return subprocess.CompletedProcess(command, process.returncode, *text)


def list_files(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Returns type and content of everything in a folder, by relative path."""
    contents = {}
    for path in folder.rglob('*'):
        kind = path.lstat().st_mode
        contents[str(path.relative_to(folder))] = kind, path.read_bytes() if path.is_file() else b''
    return contents


def check(case: Case, template: Path) -> list[str]:
    """Runs a case in a copy of the template, and returns what went wrong."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / 'case'
        shutil.copytree(template, folder, symlinks=True)
        case.prepare(folder)
        before = list_files(folder)
        result = run_command(
            folder, case.command, case.arguments, case.environment, case.stdout, case.signals
        )
        after = list_files(folder)
    faults = []
    if 'Traceback' in result.stdout + result.stderr:
        faults.append('traceback')
    if result.returncode not in case.statuses:
        faults.append(f'status {result.returncode} instead of {case.statuses}')
    changed = {path for path in before.keys() | after if before.get(path) != after.get(path)}
    changed = {path for path in changed if not path.startswith(case.writes or '\0')}
    if changed:
        faults.append(f'changed: {", ".join(sorted(changed)[:5])}')
    if result.returncode in (FAILED, BAD) and not (result.stdout + result.stderr).strip():
        faults.append('no message')
    if faults:
        faults.append('\n'.join((result.stdout + result.stderr).strip().splitlines()[-25:]))
    return faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--cases', type=int, default=300)
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--only', default='', help='run only the cases whose names contain this')
    arguments = parser.parse_args()
    cases = make_cases(arguments.seed, arguments.cases)
    cases = [case for case in cases if arguments.only in case.name]
    start = time.monotonic()
    counts: collections.Counter = collections.Counter()
    with tempfile.TemporaryDirectory() as temporary:
        template = Path(temporary) / 'template'
        template.mkdir()
        make_template(template)
        with concurrent.futures.ThreadPoolExecutor(arguments.workers) as pool:
            for case, faults in zip(
                cases, pool.map(lambda case: check(case, template), cases), strict=True
            ):
                counts[case.command] += 1
                if faults:
                    counts['faults'] += 1
                    print(f'FAULT {case.name}: ' + '\n  '.join(faults), flush=True)
    minutes = (time.monotonic() - start) / 60
    num_faults = counts.pop('faults', 0)
    print(json.dumps({'cases': len(cases), 'by_command': counts, 'faults': num_faults}))
    print(f'{len(cases)} cases in {minutes:.1f} minutes, {num_faults} faults')
    sys.exit(bool(num_faults))


if __name__ == '__main__':
    main()
