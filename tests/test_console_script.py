"""The console script `resnet-jax`, and `python -m resnet_jax`."""

import runpy
import subprocess
import sys

import pytest
from support.paths import ROOT

from resnet_jax import __main__ as console_script

FILES = {path.stem: path.read_text() for path in (ROOT / 'resnet_jax').glob('*.py')}
COMMANDS = [name for name, source in FILES.items() if 'flags.run(main)' in source]


def python(*arguments):
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize('arguments', [[], ['--help'], ['-h']])
def test_it_lists_each_command_with_the_first_line_of_its_docstring(arguments):
    result = python('-m', 'resnet_jax', *arguments)
    assert (result.returncode, result.stderr) == (0, '')
    lines = [line.split(maxsplit=1) for line in result.stdout.splitlines() if line[:2] == '  ']
    descriptions = dict(lines)
    assert descriptions.keys() == {*COMMANDS, 'train'} - {'main'}
    for name, description in descriptions.items():
        first = FILES['main' if name == 'train' else name].removeprefix('"""').partition('\n')[0]
        assert description in first


@pytest.mark.parametrize('word', ['trian', '', '--helpfull', 'config.flags'])
def test_an_unknown_command_ends_with_the_list_and_status_2(word):
    result = python('-m', 'resnet_jax', word, '--workdir=x')
    assert (result.returncode, result.stdout) == (2, '')
    assert result.stderr.startswith(f'error: expected a command, found {word!r}\n')
    assert '  evaluate  ' in result.stderr


@pytest.mark.parametrize('name', [*COMMANDS, 'train'])
def test_a_command_gets_the_arguments_after_its_name_and_ends_with_its_status(monkeypatch, name):
    monkeypatch.setattr(sys, 'argv', ['resnet-jax', name, '--workdir=x y', '--', '--help'])
    started = []

    def run_module(module, *, run_name, alter_sys):
        started.append((module, run_name, alter_sys, sys.argv[1:]))
        sys.exit(3)

    monkeypatch.setattr(runpy, 'run_module', run_module)
    with pytest.raises(SystemExit) as end:
        console_script.main()
    assert end.value.code == 3
    module = f'resnet_jax.{"main" if name == "train" else name}'
    assert started == [(module, '__main__', True, ['--workdir=x y', '--', '--help'])]


def test_a_command_says_and_returns_what_its_module_does():
    flags = ['--workdir=missing', '--checkpoint']
    expected = python('-m', 'resnet_jax.evaluate', *flags)
    result = python('-m', 'resnet_jax', 'evaluate', *flags)
    assert (result.returncode, result.stderr) == (2, expected.stderr)


def test_help_of_a_command_is_that_of_its_module():
    expected = python('-m', 'resnet_jax.main', '--help')
    result = python('-m', 'resnet_jax', 'train', '--help')
    assert (result.returncode, result.stdout) == (0, expected.stdout)


def test_the_list_needs_no_heavy_library():
    program = (
        'import atexit, sys; atexit.register(lambda: print(*sys.modules)); '
        'from resnet_jax import __main__; __main__.main()'
    )
    modules = python('-c', program).stdout.splitlines()[-1].split()
    assert 'resnet_jax.__main__' in modules
    assert not {'jax', 'flax', 'tensorflow', 'matplotlib', 'PIL'} & set(modules)
