"""Command-line flags: definitions, parsing, exit statuses and error messages.

Adds to absl and ml_collections what they lack: exit status 2 for bad input, 0 for `--help`, and
messages that name the config field, its value and the allowed values.
"""

import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from resnet_jax.config import checks, schema
from resnet_jax.errors import InputError, RunFailed, Stopped

FLAGS = flags.FLAGS


def run(main: Callable[[Sequence[str]], int | None]) -> None:
    """Parses the flags, calls `main(arguments)` and exits with the status that it returns.

    Bad input (`InputError` or a bad flag) ends with a message and status 2, a failed run
    (`RunFailed`) with a message and status 1. A run that a signal stopped (`Stopped`) ends with
    status 143 (SIGTERM) or 130 (SIGINT). A traceback means a bug.
    """

    def guarded(arguments: Sequence[str]) -> int | None:
        try:
            return main(arguments)
        except InputError as error:
            return _bad_input(error)
        except RunFailed as error:
            print(f'failed: {error}', file=sys.stderr)
            return 1
        except Stopped as stop:
            print(stop, file=sys.stderr)
            return 128 + stop.number

    # Silences TensorFlow's messages at start-up, among them one about oneDNN, which only its
    # networks use.
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
    os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')
    app.run(guarded, flags_parser=flags_parser)


def define_config(*, required: bool = True) -> flags.FlagHolder:
    """Defines the flags `--config=FILE[:DATA]` and `--config.FIELD=VALUE`."""
    holder = config_flags.DEFINE_config_file(
        'config', None, 'Config file, such as configs/resnet18.py or configs/resnet18.py:digits.'
    )
    if required:
        flags.mark_flag_as_required('config')
    return holder


def define_workdir() -> flags.FlagHolder:
    """Defines the required flag `--workdir=DIR` of the commands that read a run."""
    holder = flags.DEFINE_string('workdir', None, 'Folder of the run.')
    flags.mark_flag_as_required('workdir')
    return holder


def define_checkpoint() -> flags.FlagHolder:
    """Defines the flag `--checkpoint` of the commands that read a run."""
    return flags.DEFINE_string('checkpoint', 'best', 'best, latest, a step, or epoch:N.')


def define_figure(subject: str) -> flags.FlagHolder:
    """Defines the flag `--figure=FILE.png`, which is checked before the command does any work.

    Args:
      subject: what the figure shows, for `--help`.
    """
    holder = flags.DEFINE_string('figure', '', f'Also draw {subject} into this .png file.')

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
    return flags.DEFINE_string(
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
    try:
        if 'config' in FLAGS:
            _check_config_arguments(argv)
        arguments = FLAGS(argv)
        if 'config' in FLAGS and FLAGS['config'].value is not None:
            checks.validate(FLAGS['config'].value)
        return arguments
    except SystemExit:  # absl has printed the requested help, and exits with status 1
        sys.exit(0)
    except (flags.Error, InputError) as error:
        sys.exit(_bad_input(_explain(str(error))))
    except SyntaxError as error:
        place = f'{error.filename}, line {error.lineno}'
        sys.exit(_bad_input(f'{place}: expected valid Python, found: {error.msg}'))
    except AttributeError as error:  # config files are loaded as modules
        if 'get_config' not in str(error):
            raise
        path = ' '.join(argument for argument in argv if '.py' in argument)
        sys.exit(_bad_input(f'{path}: expected a file that defines get_config, found none'))


def _check_config_arguments(argv: Sequence[str]) -> None:
    fields = schema.flatten(schema.get_config())
    for i, argument in enumerate(argv[1:], 1):
        if argument == '--':
            return
        match = re.match(r'--?(no)?config(?:\.([^=]*))?(?:=(.*))?$', argument, re.DOTALL)
        if not match:
            continue
        negated, field, value = match.groups()
        if field is None and not negated:
            value = value if value is not None else (list(argv) + [''])[i + 1]
            if not value:
                raise InputError(
                    '--config: expected a config file after it, such as configs/resnet18.py:digits'
                )
            path = Path(value.partition(':')[0])
            if not path.is_file():
                raise InputError(
                    f'--config={value}: expected a config file, such as configs/resnet18.py or '
                    f'configs/resnet18.py:digits; found no file {str(path)!r}'
                )
        elif field is not None and field not in fields:
            raise InputError(checks.unknown_field_message(field))


def _explain(message: str) -> str:
    """Replaces absl's message about a config field of the wrong type by a clearer one."""
    match = re.match(r'flag --config\.([a-z0-9_.]+)=(.*?): ', message, re.DOTALL)
    if not match:
        return message
    return checks.field_type_message(match[1], match[2])


def _bad_input(error: object) -> int:
    print(f'error: {error}', file=sys.stderr)
    return 2
