"""launch.sh and the scripts around it, with stubs for Python, pip and the driver: no network."""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT

SYSTEM = 'tools/install_system_packages.sh'
FILES = (
    'launch.sh',
    'requirements.txt',
    'requirements-cpu.txt',
    'requirements-test.txt',
    'pyproject.toml',
    'setup.py',
    '.ci/run',
    SYSTEM,
)
TOOLS = ('bash', 'cat', 'cksum', 'cp', 'dirname', 'env', 'grep', 'mkdir', 'mv', 'rm', 'sleep', 'tr')

# A Python of the version $VERSION that writes down how it was called. A virtual environment that it
# makes has a pip once it is finished. In the step $PAUSE (venv, install or train) it writes a line
# to the file descriptor $READY and waits for one from $GO.
PYTHON = f"""#!/usr/bin/env bash
if [ "$1" = -c ]; then
  exec {sys.executable} -S -c "import sys; sys.version_info = ($(echo "$VERSION" | tr . ,), 0)
$2"
fi
if [ "$1" = --version ]; then echo "Python $VERSION.0"; exit; fi
if [ "$2 $3" = "pip --version" ]; then [ -e "${{0%python}}pip" ]; exit; fi
echo "$*" >>"$LOG"
pause() {{
  if [ "$PAUSE" = "$1" ]; then echo >&"$READY"; read -r <&"$GO"; fi
}}
case "$2" in
  venv)
    [ -z "$NO_VENV" ] || {{ echo 'No module named ensurepip'; exit 1; }}
    target="${{@: -1}}"
    rm -rf "$target" && mkdir -p "$target/bin" && cp "$0" "$target/bin/python"
    cp "$STUBS/ruff" "$STUBS/mypy" "$target/bin"
    pause venv
    : >"$target/bin/pip"
    ;;
  pip)
    [ -e "${{0%python}}pip" ] || {{ echo 'No module named pip'; exit 1; }}
    [ -z "$NO_INDEX" ] || {{ echo 'Could not find a version'; exit 1; }}
    pause install
    ;;
  resnet_jax.main) pause train ;;
esac
exit "${{STATUS:-0}}"
"""

TRAINING = '-m resnet_jax.main --config=configs/resnet18.py:digits'

LINTER = '#!/usr/bin/env bash\necho "${0##*/} $*" >>"$LOG"\nexit "${STATUS:-0}"\n'


class Machine:
    """A copy of the project, and a PATH that holds stubs and a few real tools only."""

    def __init__(self, folder):
        self.project, self.stubs, self.log = folder / 'project', folder / 'bin', folder / 'log'
        self.stubs.mkdir()
        for file in FILES:
            (self.project / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, self.project / file)
        for tool in TOOLS:
            (self.stubs / tool).symlink_to(shutil.which(tool))
        self.add('python3', PYTHON)
        self.add('ruff', LINTER)
        self.add('mypy', LINTER)
        self.add('chromium', '#!/usr/bin/env bash\n')

    def add(self, name, script):
        (self.stubs / name).write_text(script)
        (self.stubs / name).chmod(0o755)

    def run(self, *arguments, script='launch.sh', version='3.12', **variables):
        """Returns the result and what Python and the linters were called with."""
        self.log.write_text('')
        process = self.start(*arguments, script=script, version=version, **variables)
        stdout, stderr = process.communicate(timeout=60)
        result = subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
        return result, self.calls()

    def calls(self):
        return self.log.read_text().splitlines()

    def start(self, *arguments, script='launch.sh', version='3.12', pass_fds=(), **variables):
        """Starts a script in a process group of its own."""
        variables = {'PATH': self.stubs, 'STUBS': self.stubs, 'LOG': self.log} | variables
        return subprocess.Popen(
            [self.project / script, *arguments],
            env={name: str(value) for name, value in variables.items()} | {'VERSION': version},
            cwd=self.stubs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            pass_fds=pass_fds,
        )

    @contextlib.contextmanager
    def paused(self, step):
        """Starts launch.sh and yields its process, paused in a step (venv, install or train).

        The step goes on when the `with` block ends.
        """
        ready, ready_end = os.pipe()
        go_end, go = os.pipe()
        process = self.start(PAUSE=step, READY=ready_end, GO=go_end, pass_fds=(ready_end, go_end))
        os.close(ready_end)
        os.close(go_end)
        try:
            assert os.read(ready, 1) == b'\n'
            yield process
        finally:
            os.close(go)
            os.close(ready)


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def installs(calls):
    return [call for call in calls if call.startswith('-m pip')]


def assert_one_message(result, *expected):
    assert result.returncode == 1
    lines = [line for line in result.stderr.splitlines() if line.startswith('launch.sh: ')]
    assert len(lines) == 1, result.stderr
    for text in expected:
        assert text in lines[0]


def test_without_arguments_it_sets_up_and_trains_on_digits(machine):
    result, calls = machine.run()
    assert result.returncode == 0, result.stderr
    assert calls[0] == '-m venv --clear .venv'
    assert len(installs(calls)) == 1
    assert '--requirement requirements-cpu.txt --editable .' in calls[1]
    assert calls[2:] == [TRAINING]


def test_flags_are_passed_on_to_main(machine):
    flags = ['--config=configs/resnet50.py', '--workdir=a folder', '--config.data.mean=(1,2,3)']
    result, calls = machine.run(*flags)
    assert result.returncode == 0
    assert calls[-1] == f'-m resnet_jax.main {" ".join(flags)}'


def test_test_and_lint_install_the_test_dependencies_and_pass_arguments_on(machine):
    result, calls = machine.run('test', '-m', 'not slow', 'tests/test_x.py')
    assert result.returncode == 0
    requirements = '--requirement requirements-cpu.txt --requirement requirements-test.txt'
    assert f'{requirements} --editable .[test]' in installs(calls)[0]
    assert calls[-1] == '-m pytest -m not slow tests/test_x.py'
    result, calls = machine.run('lint')
    assert result.returncode == 0
    assert calls == ['ruff check', 'ruff format --check', 'mypy ']


def test_a_second_call_installs_nothing(machine):
    for arguments in (['test'], [], ['lint'], ['test'], ['--config=configs/resnet18.py']):
        result, calls = machine.run(*arguments)
        assert result.returncode == 0
        assert len(installs(calls)) == (1 if arguments == ['test'] and '-m venv' in calls[0] else 0)
    assert machine.run()[1] == [TRAINING]


def test_tests_after_training_install_into_the_same_environment(machine):
    machine.run()
    _, calls = machine.run('test')
    assert len(installs(calls)) == 1
    assert not [call for call in calls if call.startswith('-m venv')]
    assert installs(machine.run()[1]) == []


@pytest.mark.parametrize(
    'file',
    [
        'requirements.txt',
        'requirements-cpu.txt',
        'requirements-test.txt',
        'pyproject.toml',
        'setup.py',
    ],
)
def test_changed_requirements_are_installed(machine, file):
    machine.run()
    with (machine.project / file).open('a') as stream:
        stream.write('# changed\n')
    assert len(installs(machine.run()[1])) == 1
    assert installs(machine.run()[1]) == []


@pytest.mark.parametrize('version', ['3.11', '3.12', '3.13'])
def test_a_supported_python_is_used(machine, version):
    assert machine.run(version=version)[0].returncode == 0


@pytest.mark.parametrize('version', ['2.7', '3.8', '3.10', '3.14'])
def test_another_python_is_refused(machine, version):
    result, calls = machine.run(version=version)
    assert_one_message(result, '3.11, 3.12 or 3.13', f'found Python {version}.0')
    assert calls == []
    assert not (machine.project / '.venv').exists()


def test_a_newer_python_beside_an_old_one_is_found(machine):
    machine.add('python3.12', PYTHON.replace('"$VERSION" |', '3.12 |'))
    result, calls = machine.run(version='3.9')
    assert result.returncode == 0, result.stderr
    assert calls[-1].startswith('-m resnet_jax.main')


def test_the_variable_python_names_one(machine):
    (machine.stubs / 'python3').rename(machine.stubs / 'mine')
    assert_one_message(machine.run()[0], '3.11, 3.12 or 3.13')
    assert machine.run(PYTHON='mine')[0].returncode == 0


def test_a_python_without_venv_is_refused_and_leaves_nothing(machine):
    result, calls = machine.run(NO_VENV=1)
    assert_one_message(result, 'virtual environment', 'python3-venv')
    assert 'No module named ensurepip' in result.stderr
    assert installs(calls) == []
    assert {path.name for path in machine.project.iterdir()} == {
        '.venv.lock',
        *(Path(file).parts[0] for file in FILES),
    }


def test_no_package_index_is_reported_and_the_next_call_tries_again(machine):
    result, calls = machine.run(NO_INDEX=1)
    assert_one_message(result, 'requirements-cpu.txt', 'index')
    assert 'Could not find a version' in result.stderr
    assert not [call for call in calls if 'resnet_jax' in call]
    result, calls = machine.run()
    assert result.returncode == 0
    assert len(installs(calls)) == 1


@pytest.fixture
def interruptible():
    """Lets SIGINT end the processes of a test, also where pytest itself ignores it."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.mark.parametrize('step', ['venv', 'install'])
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_set_up_is_made_anew(machine, interruptible, step, number):
    with machine.paused(step) as process:
        os.killpg(process.pid, number)
        process.communicate(timeout=60)
    assert process.returncode != 0
    assert (machine.project / '.venv' / 'bin' / 'python').exists()
    result, calls = machine.run()
    assert result.returncode == 0, result.stderr
    assert calls[0] == '-m venv --clear .venv'
    assert len(installs(calls)) == 1
    assert machine.run()[1] == [TRAINING]


def test_a_virtual_environment_without_pip_is_made_anew(machine):
    machine.run()
    (machine.project / '.venv' / 'bin' / 'pip').unlink()
    result, calls = machine.run('test')
    assert result.returncode == 0, result.stderr
    assert calls[0] == '-m venv --clear .venv'


def test_an_interrupted_update_keeps_the_virtual_environment(machine, interruptible):
    machine.run()
    machine.log.write_text('')
    with (machine.project / 'requirements-cpu.txt').open('a') as file:
        file.write('# changed\n')
    with machine.paused('install') as process:
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=60)
    result, calls = machine.run()
    assert result.returncode == 0, result.stderr
    assert len(installs(calls)) == 1
    assert not [call for call in calls if call.startswith('-m venv')]


WAITING = 'launch.sh: waiting for another call, which sets up .venv\n'


@pytest.mark.parametrize('step', ['venv', 'install'])
def test_of_two_first_calls_one_says_that_it_waits_and_uses_what_the_other_made(machine, step):
    with machine.paused(step) as first:
        second = machine.start()
        assert second.stderr.readline() == WAITING
    for process in (first, second):
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 0, stderr
    calls = machine.calls()
    assert len([call for call in calls if call.startswith('-m venv')]) == 1
    assert len(installs(calls)) == 1
    assert calls.count(TRAINING) == 2


def test_a_call_waits_for_what_a_killed_call_left_running(machine):
    with machine.paused('install') as first:
        first.kill()
        first.wait()
        second = machine.start()
        assert second.stderr.readline() == WAITING
    _, stderr = second.communicate(timeout=60)
    assert second.returncode == 0, stderr
    calls = machine.calls()
    assert len([call for call in calls if call.startswith('-m venv')]) == 2
    assert calls[-1] == TRAINING


def test_what_it_runs_does_not_hold_the_lock(machine):
    with machine.paused('train') as process, (machine.project / '.venv.lock').open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.mark.parametrize('arguments', [[], ['test'], ['lint']])
def test_the_status_of_what_it_runs_is_its_own(machine, arguments):
    machine.run('test')
    assert machine.run(*arguments, STATUS=3)[0].returncode == 3


GPUS = 'echo "GPU 0: NVIDIA A100 (UUID: GPU-1)"; sleep 0.3; echo "GPU 1: NVIDIA A100"'


@pytest.mark.parametrize(
    ('driver', 'requirements'),
    [
        (f'[ "$1" = -L ] && {{ {GPUS}; }}', 'requirements.txt'),
        ('echo "GPU 0: NVIDIA A100"', 'requirements.txt'),
        ('echo "No devices were found"', 'requirements-cpu.txt'),
        ('echo "NVIDIA-SMI has failed"; exit 9', 'requirements-cpu.txt'),
        ('exit 0', 'requirements-cpu.txt'),
    ],
    ids=['two', 'one', 'none', 'failed', 'silent'],
)
def test_the_gpu_requirements_are_for_machines_with_a_gpu(machine, driver, requirements):
    machine.add('nvidia-smi', f'#!/usr/bin/env bash\n{driver}\n')
    result, calls = machine.run()
    assert result.returncode == 0
    assert f'--requirement {requirements} ' in installs(calls)[0]


def test_a_gpu_that_appears_later_changes_the_installation(machine):
    machine.run()
    machine.add('nvidia-smi', '#!/usr/bin/env bash\necho "GPU 0: NVIDIA A100"\n')
    assert '--requirement requirements.txt ' in installs(machine.run()[1])[0]
    assert installs(machine.run()[1]) == []


@pytest.mark.parametrize('word', ['train', 'tests', 'configs/resnet18.py', ''])
def test_an_unknown_word_is_refused_before_the_set_up(machine, word):
    result, calls = machine.run(word)
    assert result.returncode == 2
    assert 'expected test, lint or flags' in result.stderr
    assert f'found: {word}' in result.stderr
    assert calls == []


def test_continuous_integration_lints_and_tests(machine):
    result, calls = machine.run(script='.ci/run')
    assert result.returncode == 0, result.stderr
    assert calls[-4:] == ['ruff check', 'ruff format --check', 'mypy ', '-m pytest']


def test_continuous_integration_stops_at_the_first_failure(machine):
    machine.run('test')
    result, calls = machine.run(script='.ci/run', STATUS=1)
    assert result.returncode == 1
    assert calls == ['ruff check']


APT = '#!/usr/bin/env bash\necho "apt-get $*" >>"$LOG"\nexit "${APT_STATUS:-0}"\n'


def run_without_chromium(machine, user=0, **variables):
    (machine.stubs / 'chromium').unlink(missing_ok=True)
    machine.add('id', f'#!/usr/bin/env bash\necho {user}\n')
    return machine.run(script=SYSTEM, **variables)


def test_system_packages_that_are_there_are_left_alone(machine):
    machine.add('apt-get', APT)
    result, calls = machine.run(script=SYSTEM)
    assert (result.returncode, result.stderr, calls) == (0, '', [])


def test_root_gets_the_missing_system_packages(machine):
    machine.add('apt-get', APT)
    result, calls = run_without_chromium(machine)
    assert result.returncode == 0, result.stderr
    assert [call.split()[1] for call in calls] == ['update', 'install']
    assert calls[1].endswith(' chromium')


def test_others_are_told_how_to_get_the_missing_system_packages(machine):
    machine.add('apt-get', APT)
    result, calls = run_without_chromium(machine, user=1000)
    assert (result.returncode, calls) == (1, [])
    assert 'sudo apt-get install --yes chromium' in result.stderr


def test_other_systems_are_told_what_is_missing(machine):
    result, calls = run_without_chromium(machine)
    assert (result.returncode, calls) == (1, [])
    assert 'expected chromium or a way to install it; found no apt-get' in result.stderr


def test_system_packages_that_cannot_be_installed_stop_continuous_integration(machine):
    machine.add('apt-get', APT)
    run_without_chromium(machine)
    result, calls = machine.run(script='.ci/run', APT_STATUS=100)
    assert result.returncode != 0
    assert not [call for call in calls if not call.startswith('apt-get')]


@pytest.mark.parametrize('script', ['launch.sh', '.ci/run', SYSTEM])
def test_the_scripts_can_be_executed(script):
    assert os.access(ROOT / script, os.X_OK)
