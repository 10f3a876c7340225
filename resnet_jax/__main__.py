"""Console script `resnet-jax COMMAND ...`, the same as `python -m resnet_jax.COMMAND ...`."""

import ast
import runpy
import sys
from pathlib import Path

from resnet_jax.config import flags
from resnet_jax.errors import InputError

MODULES = ('main', 'evaluate', 'predict', 'report', 'prepare', 'plan', 'import_weights', 'export')
"""The modules of the commands; `main` is listed as `train`."""


def main() -> None:
    """Runs the command that the first argument names, with the arguments after it.

    Without a command, or with `--help`, it lists the commands. An unknown command ends with the
    list and status 2. A command ends with its own status.
    """
    name, *arguments = sys.argv[1:] or ['--help']
    module = 'main' if name == 'train' else name
    if module in MODULES:
        sys.argv = [sys.argv[0], *arguments]
        runpy.run_module(f'resnet_jax.{module}', run_name='__main__', alter_sys=True)
    else:
        del sys.argv[1:]
        flags.run(lambda _: _list_commands(name))


def _list_commands(asked: str) -> None:
    """Prints the commands.

    Raises:
      InputError: with the same list, if something else than help was asked for.
    """
    lines = ['usage: resnet-jax COMMAND [--FLAG=VALUE ...]', '']
    for module in MODULES:
        name = 'train' if module == 'main' else module
        lines.append(f'  {name:15} {_describe(module)}')
    lines += ['', 'The flags of a command: resnet-jax COMMAND --help']
    commands = '\n'.join(lines)
    if asked not in ('--help', '-h'):
        raise InputError(f'expected a command, found {asked!r}\n\n{commands}')
    print(commands)


def _describe(module: str) -> str:
    """Returns what a command does, from the first line of its docstring, without importing it."""
    source = Path(__file__).with_name(f'{module}.py').read_text(encoding='utf-8')
    line = (ast.get_docstring(ast.parse(source)) or '').partition('\n')[0]
    return line.removeprefix('Command that ').partition(': `')[0].rstrip('.')


if __name__ == '__main__':
    main()
