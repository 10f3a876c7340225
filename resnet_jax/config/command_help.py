"""Text of `--help`: what a command does, its own flags with types and defaults, an example."""

import inspect
import textwrap
from collections.abc import Sequence
from types import ModuleType

from absl import flags

EXAMPLES = {
    'main': '--config=resnet18:digits --workdir=runs/digits --config.num_epochs=30',
    'evaluate': '--workdir=runs/digits --checkpoint=epoch:10',
    'predict': '--workdir=runs/photos --top_k=3 photo.jpg holiday/',
    'report': '--workdir=runs/digits --order=similarity',
    'prepare': '--config=resnet50 --config.data.dir=~/imagenet --output=~/imagenet256',
    'plan': '--config=resnet50 --num_devices=8 --images_per_second=6000',
    'import_weights': '--format=timm --weights=v2_50.safetensors --workdir=runs/v2_50',
    'export': '--workdir=runs/digits --output=digits.safetensors --format=safetensors',
}
"""Arguments of an example of each command, by the name of its module."""

WIDTH = 90
_ASKS = {'-h', '-?', '-help', '--help', '-helpshort', '--helpshort'}
_OVERRIDE = (
    '--config.FIELD=VALUE',
    'Set any field of the config, such as --config.num_epochs=5; a wrong FIELD lists them all.',
)


def is_asked_for(arguments: Sequence[str]) -> bool:
    """Returns whether `--help` or `-h` is among the arguments before `--`."""
    end = arguments.index('--') if '--' in arguments else len(arguments)
    return not _ASKS.isdisjoint(arguments[:end])


def format_help(command: ModuleType, values: flags.FlagValues) -> str:
    """Returns the help of a command.

    Args:
      command: module of the command, which has a docstring.
      values: flags that the command has defined, and absl's, which are left out.
    """
    lines = [(inspect.getdoc(command) or '').strip(), '', 'Flags:']
    for name in values:
        flag = values[name]
        module = values.find_module_defining_flag(name) or 'absl'
        if name != flag.name or module.partition('.')[0] == 'absl':
            continue
        lines += _describe(*_entry(flag))
        if name == 'config':
            lines += _describe(*_OVERRIDE)
    lines += _describe('--helpfull', "Show the flags of absl, Python's logging among them, too.")
    module = command.__spec__.name if command.__spec__ else command.__name__
    example = EXAMPLES[module.rpartition('.')[2]]
    return '\n'.join([*lines, '', 'Example:', f'    python -m {module} {example}'])


def _entry(flag: flags.Flag) -> tuple[str, str]:
    """Returns a flag with the type of its value, and its description with the default."""
    kind = flag.flag_type()
    default = flag.default_unparsed
    description = flag.help
    if kind == 'bool':
        usage = f'--[no]{flag.name}'
    elif isinstance(flag, flags.EnumFlag):
        usage = f'--{flag.name}={"|".join(flag.parser.enum_values)}'
        description = description.partition('>: ')[2]  # absl puts the values before it
    else:
        usage = f'--{flag.name}={_KINDS.get(kind, kind.upper())}'
    if default is None:
        return usage, description + (' Required.' if flag.validators else '')
    shown = str(default).lower() if kind == 'bool' else 'empty' if default == '' else default
    return usage, f'{description} Default: {shown}.'


_KINDS = {'config object': 'FILE[:DATA]', 'comma separated list of strings': 'A,B,...'}


def _describe(usage: str, description: str) -> list[str]:
    """Returns the lines of a flag: its usage, and its description, indented."""
    indent = ' ' * 28
    lines = textwrap.wrap(
        description,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )
    if len(usage) < 25:
        return [f'  {usage:26}{lines[0].strip()}', *lines[1:]]
    return [f'  {usage}', *lines]
