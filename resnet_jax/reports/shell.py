"""Command of a run as a line for the shell."""

import shlex
from pathlib import Path

from resnet_jax.config import paths


def write_command(arguments: object) -> str:
    """Returns a line that a shell runs as the same command.

    It is empty for other programs, and if an argument has bytes that a page cannot show, because
    they are not UTF-8.

    Args:
      arguments: `command` of `environment.json`: the path of a command's module, and its flags.
    """
    if not isinstance(arguments, list) or not all(isinstance(word, str) for word in arguments):
        return ''
    path = Path(arguments[0] if arguments else '')
    is_text = all(map(paths.is_utf8, arguments))
    if path.parent.name != 'resnet_jax' or path.suffix != '.py' or not is_text:
        return ''
    return shlex.join(['python', '-m', f'resnet_jax.{path.stem}', *arguments[1:]])
