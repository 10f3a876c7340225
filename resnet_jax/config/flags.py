"""Command-line flags: definitions, parsing and error messages.

Adds to absl and ml_collections what they lack: exit status 2 for bad input, 0 for `--help`, paths
in which `~` is the home folder, configs by their names, and messages that name the config field,
its value and the allowed values.
"""

import itertools
import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from absl import app, flags, logging
from ml_collections import config_flags

from resnet_jax.config import checks, command_help, paths, schema
from resnet_jax.config.config_files import find_config
from resnet_jax.console import terminal
from resnet_jax.console.exit import exit_with
from resnet_jax.errors import InputError

FLAGS = flags.FLAGS


def run(main: Callable[[Sequence[str]], int | None]) -> NoReturn:
    """Runs a command and exits with a status: see `exit_with` for what it can be.

    Args:
      main: function that is called with the name of the program and the positional arguments, once
        the flags are parsed and the config is checked, and returns the status; None means 0.
    """

    def start() -> None:
        terminal.set_up_logging()
        if command_help.is_asked_for(sys.argv[1:]):
            print(command_help.format_help(sys.modules[main.__module__], FLAGS))
        else:
            app.run(main, flags_parser=flags_parser)

    # Silences messages of libraries that a user cannot act on: how they call each other, and
    # TensorFlow's at start-up, among them one about oneDNN, which only its networks use.
    if not sys.warnoptions:
        for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
            warnings.simplefilter('ignore', category)
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
    os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')
    logging.use_absl_handler()  # in the place of handlers of the streams that `exit_with` replaces
    exit_with(start)


class _PathParser(flags.ArgumentParser):
    """Parser of paths, in which `~` is the user's home folder."""

    syntactic_help = 'a path'

    def parse(self, argument: str) -> str:
        return os.path.expanduser(argument)  # noqa: PTH111 (which refuses the `~name` of nobody)

    def flag_type(self) -> str:
        return 'path'


_EXPECTED_UTF8 = (
    'expected a path in UTF-8, because the libraries that read and write checkpoints, compiled '
    'programs and records can open no other; rename the folder'
)


def _require_working_folder() -> None:
    """Raises `InputError` if the working folder was deleted or its path is not UTF-8."""
    try:
        folder = str(Path.cwd())
    except OSError as error:
        message = f'expected a working folder that exists, found: {error.strerror}; change to one'
        raise InputError(message) from None
    if not paths.is_utf8(folder):
        raise InputError(f'the working folder {folder}: {_EXPECTED_UTF8}')


def define_path(
    name: str, default: str | None, description: str, *, required: bool = False
) -> flags.FlagHolder:
    """Defines a flag that takes the path of a file or folder, which must be possible and UTF-8."""
    holder = flags.DEFINE(_PathParser(), name, default, description, required=required)
    flags.register_validator(name, lambda path: paths.is_utf8(path or ''), _EXPECTED_UTF8)
    flags.register_validator(
        name, lambda path: paths.is_possible(path or ''), f'expected {paths.LIMITS}'
    )
    return holder


def define_config(*, required: bool = True) -> flags.FlagHolder:
    """Defines the flags `--config=FILE[:DATA]` and `--config.FIELD=VALUE`."""
    holder = config_flags.DEFINE_config_file(
        'config',
        None,
        'Config file or name of a config, and the data set if it is another one, such as '
        'configs/resnet18.py or resnet18:digits.',
    )
    if required:
        flags.mark_flag_as_required('config')
    return holder


def define_workdir() -> flags.FlagHolder:
    """Defines the required flag `--workdir=DIR` of the commands that read a run."""
    return define_path('workdir', None, 'Folder of the run.', required=True)


def define_checkpoint() -> flags.FlagHolder:
    """Defines the flag `--checkpoint` of the commands that read a run."""
    return flags.DEFINE_string('checkpoint', 'best', 'best, latest, a step, or epoch:N.')


def define_figure(subject: str) -> flags.FlagHolder:
    """Defines the flag `--figure=FILE.png`, which is checked before the command does any work.

    Args:
      subject: what the figure shows, for `--help`.
    """
    holder = define_path('figure', '', f'Also draw {subject} into this .png file.')

    def check(name: str) -> bool:
        path = Path(name)
        if name and path.suffix.lower() != '.png':
            raise flags.ValidationError('expected the name of a file that ends in .png')
        if name and (path.is_dir() or not path.parent.is_dir()):
            raise flags.ValidationError('expected the name of a file in a folder that exists')
        return True

    flags.register_validator('figure', check)
    return holder


def define_compilation_cache(default: str) -> flags.FlagHolder:
    """Defines the flag `--compilation_cache_dir` of the commands that compile."""
    return flags.DEFINE(
        _PathParser(),
        'compilation_cache_dir',
        default,
        'Folder for compiled programs, so that the next start is faster; empty = none.',
    )


def config_name() -> str:
    """Returns the name of the config's runs: `resnet18`, or `resnet18-digits` with a data set."""
    path, _, data = config_flags.get_config_filename(FLAGS['config']).partition(':')
    return Path(path).stem + (f'-{data}' if data else '')


def require_no_arguments(arguments: Sequence[str]) -> None:
    """Checks that a command got flags only.

    Args:
      arguments: name of the program, then the positional arguments.

    Raises:
      InputError: if there are positional arguments.
    """
    if len(arguments) > 1:
        raise InputError(f'expected flags only (--name=value), found {" ".join(arguments[1:])!r}')


def flags_parser(argv: Sequence[str]) -> list[str]:
    """Parses `argv` into absl's flags and validates the config, if the command has one.

    Returns:
      The name of the program, then the positional arguments.
    """
    _require_working_folder()
    try:
        if 'config' in FLAGS:
            argv = _find_config(argv)
            _check_overrides(argv)
        arguments = FLAGS(argv)
        if 'config' in FLAGS and FLAGS['config'].value is not None:
            checks.validate(FLAGS['config'].value)
        return arguments
    except SystemExit:  # absl has printed the requested help, and exits with status 1
        sys.exit(0)
    except flags.Error as error:
        raise InputError(_explain(str(error))) from None
    except SyntaxError as error:
        place = f'{error.filename}, line {error.lineno}'
        raise InputError(f'{place}: expected valid Python, found: {error.msg}') from None
    except AttributeError as error:  # config files are loaded as modules
        if 'get_config' not in str(error):
            raise
        path = ' '.join(argument for argument in argv if '.py' in argument)
        message = f'{path}: expected a file that defines get_config, found none'
        raise InputError(message) from None


def _find_config(argv: Sequence[str]) -> list[str]:
    """Returns `argv` with `--config=PATH` in the place of `--config=NAME` and `--config NAME`."""
    resolved: list[str] = []
    arguments = iter(argv)
    for argument in arguments:
        if argument == '--':
            return [*resolved, argument, *arguments]
        match = re.fullmatch(r'--?config(?:=(.*))?', argument, re.DOTALL)
        if match:
            value = match[1] if match[1] is not None else next(arguments, '')
            if not value:
                raise InputError(
                    '--config: expected a config file after it, such as configs/resnet18.py:digits'
                )
            argument = f'--config={find_config(value)}'
        resolved.append(argument)
    return resolved


def _check_overrides(argv: Sequence[str]) -> None:
    """Checks that the fields of `--config.FIELD=VALUE` exist."""
    fields = schema.flatten(schema.get_config())
    for argument in itertools.takewhile(lambda argument: argument != '--', argv[1:]):
        match = re.match(r'--?(?:no)?config\.([^=]*)', argument)
        if match and match[1] not in fields:
            raise InputError(checks.unknown_field_message(match[1]))


def _explain(message: str) -> str:
    """Replaces absl's message about a config field of the wrong type by a clearer one."""
    match = re.match(r'flag --config\.([a-z0-9_.]+)=(.*?): ', message, re.DOTALL)
    if not match:
        return message
    return checks.field_type_message(match[1], match[2])
