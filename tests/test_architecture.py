"""Who may import whom: the floors and fences of docs/architecture.md."""

import ast
import graphlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / 'resnet_jax'

FLOORS = (
    # 0, the ground
    'base_config compilation_cache flags workdir parallel types validation',
    # 1, leaves
    'models.resnet models.layers models.batch_norm models.initialization models.stacking '
    'models.variants models.macs '
    'data.sources data.records data.split data.encoded_images data.preprocessing '
    'data.augmentation data.class_names data.class_groups '
    'training.schedules training.optimizers evaluation.confusion monitoring.* '
    'evaluation.class_order evaluation.class_scores evaluation.tables evaluation.mxnet_r',
    # 2, parts
    'training.steps training.state training.checkpoints training.checkpoint_writer '
    'training.restoring training.reporting training.health training.initial_weights '
    'data.pipeline data.decoding data.storing data.record_files '
    'evaluation.metrics evaluation.figures.* '
    'evaluation.page evaluation.record evaluation.class_tables',
    # 3, jobs
    'training.loop training.job training.plan evaluation.evaluator evaluation.report '
    'inference.predictor inference.drawing inference.export inference.scoring data.prepare '
    'models.weights.*',
    # 4, the face
    'run __init__',
    # 5, commands
    'main evaluate predict report plan prepare import_weights export score',
)

FENCES = {
    'tensorflow': 'data.*',
    'tensorflow_datasets': 'data.*',
    'matplotlib': 'evaluation.figures.*',
    'datashader': 'evaluation.figures.*',
    'pandas': 'evaluation.figures.*',
    'xarray': 'evaluation.figures.*',
    'pyspark': 'inference.scoring',
    'safetensors': 'models.weights.*',
    'h5py': 'models.weights.*',
    'absl.app': f'flags {FLOORS[5]}',
    'absl.flags': f'flags {FLOORS[5]}',
    'ml_collections.config_flags': f'flags {FLOORS[5]}',
    'jax.pmap': 'parallel',
}
"""What may be used in some files only."""

LIGHT_MODULES = ('base_config', 'compilation_cache', 'flags', 'types', 'validation', 'workdir')
HEAVY_LIBRARIES = ('jax', 'flax', 'optax', 'orbax', 'clu', 'numpy', 'PIL', 'sklearn')
MAX_COMMAND_LINES = 85


def is_among(module: str, patterns: str) -> bool:
    return any(
        module == pattern
        or (pattern.endswith('.*') and f'{module}.'.startswith(pattern.removesuffix('*')))
        for pattern in patterns.split()
    )


def floor_of(module: str) -> int | None:
    return next((i for i, patterns in enumerate(FLOORS) if is_among(module, patterns)), None)


def names_used(tree: ast.AST) -> set[str]:
    """Returns all that is imported, and attributes of it, as dotted names."""
    found, aliases = set(), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
            aliases |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f'line {node.lineno}: relative import'
            names = {
                alias.asname or alias.name: f'{node.module}.{alias.name}' for alias in node.names
            }
            found |= set(names.values())
            aliases |= names
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            prefix, _, rest = ast.unparse(node).partition('.')
            if prefix in aliases:
                found.add(f'{aliases[prefix]}.{rest}')
    return found


def imported_modules(source: str, modules: set[str]) -> set[str]:
    """Returns which of the package's modules a file imports."""
    found = set()
    for name in names_used(ast.parse(source)):
        if name == 'resnet_jax':
            found.add('__init__')
        if name.startswith('resnet_jax.'):
            parts = name.removeprefix('resnet_jax.').split('.')
            found |= {'.'.join(parts[:n]) for n in range(1, len(parts) + 1)} & modules
    return found


def violations(files: dict[str, str]) -> list[str]:
    """Returns what breaks the rules in `{module: source}`, a line each."""
    found = []
    graph = {module: imported_modules(source, set(files)) for module, source in files.items()}
    for module, source in files.items():
        floor = floor_of(module)
        if floor is None:
            if source.strip():
                found.append(f'{module} is on no floor')
            continue
        for other in graph[module]:
            if (floor_of(other) or 0) > floor:
                found.append(f'{module} (floor {floor}) imports {other} (floor {floor_of(other)})')
        for name in names_used(ast.parse(source)):
            for fenced, patterns in FENCES.items():
                if f'{name}.'.startswith(f'{fenced}.') and not is_among(module, patterns):
                    found.append(f'{module} uses {name}')
        if floor == 5:
            found += [f'{module} imports {name} before it is called' for name in eager(source)]
            if source.count('\n') > MAX_COMMAND_LINES:
                found.append(f'{module} has more than {MAX_COMMAND_LINES} lines')
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        found.append(f'circle: {" > ".join(error.args[1])}')
    return found


def eager(source: str) -> list[str]:
    """Returns what a command imports at once that would make `--help` slow."""
    top = [node for node in ast.parse(source).body if isinstance(node, ast.Import | ast.ImportFrom)]
    return [
        name
        for name in sorted(names_used(ast.Module(top, [])))
        if name.split('.')[0] in HEAVY_LIBRARIES
        or (name.startswith('resnet_jax.') and name.split('.')[1] not in LIGHT_MODULES)
    ]


def read_package() -> dict[str, str]:
    return {
        '.'.join(path.relative_to(PACKAGE).with_suffix('').parts): path.read_text()
        for path in PACKAGE.rglob('*.py')
    }


def test_the_package_keeps_to_its_floors_and_fences():
    files = read_package()
    assert len(files) > 25
    assert violations(files) == []


@pytest.mark.parametrize('library', ['tensorflow', 'jax.pmap', 'absl.flags', 'safetensors', 'h5py'])
def test_each_fence_surrounds_something(library):
    inside = [
        module
        for module, source in read_package().items()
        if any(f'{name}.'.startswith(f'{library}.') for name in names_used(ast.parse(source)))
    ]
    assert inside
    assert all(is_among(module, FENCES[library]) for module in inside)


@pytest.mark.parametrize(
    ('module', 'source', 'expected'),
    [
        ('types', 'from resnet_jax.models import resnet', 'types (floor 0) imports models.resnet'),
        ('types', 'import resnet_jax.run', 'types (floor 0) imports run (floor 4)'),
        ('types', 'def f():\n  from resnet_jax import run', 'types (floor 0) imports run'),
        ('models.resnet', 'from resnet_jax.training.loop import train', 'imports training.loop'),
        ('training.loop', 'import resnet_jax', 'training.loop (floor 3) imports __init__'),
        ('run', 'import resnet_jax.main', 'run (floor 4) imports main (floor 5)'),
        ('training.steps', 'import tensorflow as tf', 'training.steps uses tensorflow'),
        ('training.steps', 'from tensorflow import data', 'training.steps uses tensorflow.data'),
        ('run', 'def f():\n  import tensorflow_datasets', 'run uses tensorflow_datasets'),
        ('data.pipeline', 'import matplotlib.pyplot', 'data.pipeline uses matplotlib.pyplot'),
        ('inference.predictor', 'import pyspark', 'inference.predictor uses pyspark'),
        ('training.checkpoints', 'import h5py', 'training.checkpoints uses h5py'),
        ('training.steps', 'import jax\njax.pmap(f)', 'training.steps uses jax.pmap'),
        ('training.steps', 'import jax as j\nj.pmap(f)', 'training.steps uses jax.pmap'),
        ('training.steps', 'from jax import pmap as p', 'training.steps uses jax.pmap'),
        ('training.loop', 'from absl import flags', 'training.loop uses absl.flags'),
        ('training.loop', 'import absl.flags', 'training.loop uses absl.flags'),
        ('workdir', 'from ml_collections import config_flags', 'workdir uses ml_coll'),
        ('main', 'from resnet_jax import run', 'main imports resnet_jax.run before it is called'),
        ('main', 'import jax', 'main imports jax before it is called'),
        ('main', '\n' * 100, 'main has more than'),
        ('training.trainer', 'x = 1', 'training.trainer is on no floor'),
        ('utils', 'x = 1', 'utils is on no floor'),
        ('data.__init__', 'x = 1', 'data.__init__ is on no floor'),
    ],
)
def test_a_violation_is_found(module, source, expected):
    found = violations(read_package() | {module: source})
    assert any(expected in line for line in found), found


def test_a_circle_on_one_floor_is_found():
    circle = {
        'training.steps': 'from resnet_jax.training import state',
        'training.state': 'from resnet_jax.training.steps import make_train_step',
    }
    assert any(line.startswith('circle') for line in violations(read_package() | circle))
