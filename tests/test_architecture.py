"""Which package may import which: the rooms and fences of docs/architecture.md."""

import ast
import graphlib

import pytest
from support.paths import ROOT

PACKAGE = ROOT / 'resnet_jax'

COMMANDS = 'main evaluate predict report prepare plan import_weights export'

ROWS = (
    'errors types',
    'console',
    'config',
    'storage devices',
    'monitoring models data',
    'checkpoints evaluation weights',
    'training inference reports',
    'planning',
    'run',
    '__init__',
    COMMANDS,
    '__main__',
)
"""A package imports only from rows above its own; so do the modules of the top level."""

FENCES = {
    'tensorflow': 'data',
    'tensorflow_datasets': 'data',
    'matplotlib': 'reports.figures',
    'datashader': 'reports.figures',
    'pandas': 'reports.figures',
    'xarray': 'reports.figures',
    'jinja2': 'reports',
    'safetensors': 'weights',
    'h5py': 'weights',
    'pynvml': 'devices.nvidia',
    'absl.app': 'config.flags',
    'absl.flags': f'config.flags config.command_help {COMMANDS}',
    'ml_collections.config_flags': 'config.flags',
    'jax.pmap': 'devices.parallel',
}
"""The only packages and modules that may use a library or a function."""

LIGHT = 'config errors types storage devices.compilation_cache'
"""What a command may import before it is called: `--help` must answer at once."""

HEAVY_LIBRARIES = ('jax', 'flax', 'optax', 'orbax', 'clu', 'numpy', 'PIL', 'sklearn')
MAX_COMMAND_LINES = 80
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 60


def is_in(module: str, places: str) -> bool:
    """Returns whether a module is one of the places or is in one of them."""
    return any(f'{module}.'.startswith(f'{place}.') for place in places.split())


def room_of(module: str) -> str:
    return module.split('.')[0]


def row_of(module: str) -> int | None:
    return next((i for i, rooms in enumerate(ROWS) if room_of(module) in rooms.split()), None)


def names_used(tree: ast.AST) -> set[str]:
    """Returns the dotted names of all imports and of their attributes."""
    names, aliases = set(), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
            aliases |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f'line {node.lineno}: relative import'
            imported = {
                alias.asname or alias.name: f'{node.module}.{alias.name}' for alias in node.names
            }
            names |= set(imported.values())
            aliases |= imported
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            prefix, _, rest = ast.unparse(node).partition('.')
            if prefix in aliases:
                names.add(f'{aliases[prefix]}.{rest}')
    return names


def imported_modules(source: str, modules: set[str]) -> set[str]:
    """Returns which of the package's modules a file imports."""
    imported = set()
    for name in names_used(ast.parse(source)):
        if name == 'resnet_jax':
            imported.add('__init__')
        if name.startswith('resnet_jax.'):
            parts = name.removeprefix('resnet_jax.').split('.')
            imported |= {'.'.join(parts[:n]) for n in range(1, len(parts) + 1)} & modules
    return imported


def violations(files: dict[str, str]) -> list[str]:
    """Returns the violations of the rules in `{module: source}`, one line for each."""
    lines = []
    graph = {module: imported_modules(source, set(files)) for module, source in files.items()}
    for module, source in files.items():
        if row_of(module) is None:
            lines.append(f'{module} is in no row')
            continue
        lines += [
            f'{module} (row {row_of(module)}) imports {other} (row {row_of(other)})'
            for other in graph[module]
            if room_of(other) != room_of(module) and not is_above(other, module)
        ]
        lines += sizes(module, source)
        for name in names_used(ast.parse(source)):
            for fenced, places in FENCES.items():
                if f'{name}.'.startswith(f'{fenced}.') and not is_in(module, places):
                    lines.append(f'{module} uses {name}')
        if module in COMMANDS.split():
            lines += [f'{module} imports {name} before it is called' for name in eager(source)]
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        lines.append(f'cycle: {" > ".join(error.args[1])}')
    return lines


def is_above(other: str, module: str) -> bool:
    """Returns whether a module's row is above another's; modules of row 0 import no module."""
    other_row, row = row_of(other), row_of(module)
    return other_row is not None and row is not None and other_row < row


def sizes(module: str, source: str) -> list[str]:
    """Returns the files and functions that are too long, one line for each."""
    lines = []
    limit = MAX_COMMAND_LINES if module in COMMANDS.split() else MAX_FILE_LINES
    if source.count('\n') > limit:
        lines.append(f'{module} has more than {limit} lines')
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            docstring = ast.get_docstring(node, clean=False) or ''
            length = node.end_lineno - node.lineno + 1 - len(docstring.splitlines())
            if length > MAX_FUNCTION_LINES:
                lines.append(f'{module}.{node.name} has more than {MAX_FUNCTION_LINES} lines')
    return lines


def eager(source: str) -> list[str]:
    """Returns the imports at the top of a command that make `--help` slow."""
    top = [node for node in ast.parse(source).body if isinstance(node, ast.Import | ast.ImportFrom)]
    return [
        name
        for name in sorted(names_used(ast.Module(top, [])))
        if name.split('.')[0] in HEAVY_LIBRARIES
        or (name.startswith('resnet_jax.') and not is_in(name.partition('.')[2], LIGHT))
    ]


def read_package() -> dict[str, str]:
    """Returns the sources of all modules; `data.__init__` is called `data`."""
    files = {}
    for path in PACKAGE.rglob('*.py'):
        module = '.'.join(path.relative_to(PACKAGE).with_suffix('').parts)
        files[module.removesuffix('.__init__')] = path.read_text()
    return files


def test_the_package_keeps_to_its_rows_fences_and_sizes():
    files = read_package()
    assert len(files) > 100
    assert violations(files) == []


def test_every_package_says_what_lives_in_it():
    for path in PACKAGE.rglob('__init__.py'):
        docstring = ast.get_docstring(ast.parse(path.read_text()))
        assert docstring and len(docstring) > 40, path


@pytest.mark.parametrize('library', [*FENCES])
def test_each_fence_surrounds_something(library):
    inside = [
        module
        for module, source in read_package().items()
        if any(f'{name}.'.startswith(f'{library}.') for name in names_used(ast.parse(source)))
    ]
    assert inside
    assert all(is_in(module, FENCES[library]) for module in inside)


@pytest.mark.parametrize(
    ('module', 'source', 'expected'),
    [
        ('types', 'from resnet_jax.models import resnet', 'types (row 0) imports models.resnet'),
        ('types', 'import resnet_jax.run', 'types (row 0) imports run (row 8)'),
        ('types', 'def f():\n  from resnet_jax import run', 'types (row 0) imports run'),
        ('types', 'import resnet_jax.errors', 'types (row 0) imports errors (row 0)'),
        ('models.resnet', 'import resnet_jax.data.pipeline', 'imports data.pipeline (row 4)'),
        ('training.loop', 'import resnet_jax', 'training.loop (row 6) imports __init__'),
        ('run', 'import resnet_jax.main', 'run (row 8) imports main (row 10)'),
        ('main', 'import resnet_jax.plan', 'main (row 10) imports plan (row 10)'),
        ('training.loop', 'import tensorflow as tf', 'training.loop uses tensorflow'),
        ('training.loop', 'from tensorflow import data', 'training.loop uses tensorflow.data'),
        ('run', 'def f():\n  import tensorflow_datasets', 'run uses tensorflow_datasets'),
        ('data.pipeline', 'import matplotlib.pyplot', 'data.pipeline uses matplotlib.pyplot'),
        ('reports.page', 'import matplotlib', 'reports.page uses matplotlib'),
        ('checkpoints.reading', 'import h5py', 'checkpoints.reading uses h5py'),
        ('training.loop', 'import jax\njax.pmap(f)', 'training.loop uses jax.pmap'),
        ('training.loop', 'import jax as j\nj.pmap(f)', 'training.loop uses jax.pmap'),
        ('training.loop', 'from jax import pmap as p', 'training.loop uses jax.pmap'),
        ('training.loop', 'from absl import flags', 'training.loop uses absl.flags'),
        ('training.loop', 'import absl.flags', 'training.loop uses absl.flags'),
        ('storage.files', 'from ml_collections import config_flags', 'storage.files uses ml_coll'),
        ('main', 'from resnet_jax import run', 'main imports resnet_jax.run before it is called'),
        ('main', 'import jax', 'main imports jax before it is called'),
        ('main', '\n' * 100, 'main has more than 80 lines'),
        ('run', '\n' * 301, 'run has more than 300 lines'),
        ('run', 'def f():\n' + '  x = 1\n' * 60, 'run.f has more than 60 lines'),
        ('utils', 'x = 1', 'utils is in no row'),
    ],
)
def test_a_violation_is_found(module, source, expected):
    lines = violations(read_package() | {module: source})
    assert any(expected in line for line in lines), lines


def test_a_cycle_in_a_package_is_found():
    cycle = {
        'training.train_step': 'from resnet_jax.training import state',
        'training.state': 'from resnet_jax.training.train_step import make_train_step',
    }
    assert any(line.startswith('cycle') for line in violations(read_package() | cycle))
