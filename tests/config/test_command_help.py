"""`--help` of each command: its own flags, on one screen, at once."""

import re
import subprocess
import sys

import pytest
from support.paths import ROOT

from resnet_jax.config import command_help

CONFIG = ['--config=FILE[:DATA]', '--config.FIELD=VALUE']
FLAGS = {
    'main': [
        *CONFIG,
        '--workdir=PATH',
        '--coordinator_address=STRING',
        '--num_processes=INT',
        '--process_id=INT',
        '--compilation_cache_dir=PATH',
    ],
    'evaluate': [
        *('--workdir=PATH', '--checkpoint=STRING', '--compilation_cache_dir=PATH'),
        *('--split=STRING', '--data_dir=PATH', '--batch_size=INT', '--audit_mxnet_r=INT'),
    ],
    'predict': [
        *('--workdir=PATH', '--checkpoint=STRING', '--top_k=INT', '--[no]json'),
        *('--[no]exif_orientation', '--figure=PATH', '--compilation_cache_dir=PATH'),
    ],
    'report': ['--workdir=PATH', '--[no]open', '--order=index|similarity'],
    'prepare': [
        *(*CONFIG, '--output=PATH', '--size=INT', '--encoding=jpeg|raw', '--quality=INT'),
        '--shape=keep|square',
    ],
    'plan': [*CONFIG, '--num_devices=INT', '--images_per_second=FLOAT', '--figure=PATH'],
    'import_weights': ['--format=STRING', '--weights=PATH', '--workdir=PATH', *CONFIG],
    'export': [
        *('--workdir=PATH', '--checkpoint=STRING', '--output=PATH', '--format=STRING'),
        '--platforms=A,B,...',
    ],
}
DEFAULTS = {
    'main': ['process_id=INT Number of this process, from 0. Default: -1.'],
    'evaluate': ["batch_size=INT Images a step; 0 = the config's. In bfloat16, "],
    'predict': ['[no]json Print a line of JSON for each image. Default: false.'],
    'report': ['if the output is a terminal. Default: true.', 'Default: index.'],
    'prepare': [
        'Short side of the images in px. Default: 256.',
        'folder for the data set. Required',
    ],
    'plan': ['or resnet18:digits. Required.'],
    'import_weights': ['or .keras. Required.'],
    'export': ['cuda, rocm and tpu. Default: cpu,cuda.'],
}
HEAVY = ('jax', 'flax', 'optax', 'orbax', 'clu', 'tensorflow', 'tensorflow_datasets', 'sklearn')
HEAVY += ('matplotlib', 'datashader', 'pandas', 'scipy')


def run(*arguments):
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize('command', FLAGS)
def test_help_shows_a_commands_own_flags_and_an_example(command):
    program = (
        'import atexit, runpy, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr));'
        f'sys.argv = ["x", "--workdir=x", "--help"];'
        f'runpy.run_module("resnet_jax.{command}", run_name="__main__", alter_sys=True)'
    )
    result = run('-c', program)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 105
    shown = [line.split()[0] for line in lines if line.startswith('  --')]
    assert shown == [*FLAGS[command], '--helpfull']
    for text in DEFAULTS[command]:
        assert text in ' '.join(result.stdout.split())
    assert lines[-2] == 'Example:'
    assert lines[-1] == f'    python -m resnet_jax.{command} {command_help.EXAMPLES[command]}'
    names = {flag.partition('=')[0] for flag in shown}
    for flag in re.findall(r'--\w+', lines[-1]):
        assert flag in names
    modules = result.stderr.split()
    assert 'absl.flags' in modules
    assert not set(HEAVY) & set(modules)


@pytest.mark.parametrize('arguments', [['-h'], ['-help'], ['--config=x', '--helpshort', '--', 'y']])
def test_other_spellings_ask_for_help_too(arguments):
    assert command_help.is_asked_for(arguments)


@pytest.mark.parametrize('arguments', [[], ['help'], ['--helpfull'], ['--', '--help']])
def test_other_arguments_do_not_ask_for_help(arguments):
    assert not command_help.is_asked_for(arguments)


def test_the_full_help_shows_the_flags_of_libraries_too():
    result = run('-m', 'resnet_jax.plan', '--helpfull')
    assert (result.returncode, result.stderr) == (0, '')
    assert '--verbosity' in result.stdout.replace('-v,--', '--')
    assert '--images_per_second' in result.stdout
