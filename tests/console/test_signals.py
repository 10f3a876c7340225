"""Stop signals: as requests, as interrupts, and ignored ones."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from resnet_jax.console import signals
from resnet_jax.errors import RunFailed, Stopped
from resnet_jax.storage.files import write_text

STOP_SIGNALS = [signal.SIGHUP, signal.SIGINT, signal.SIGTERM]


@pytest.fixture(autouse=True)
def signals_are_not_ignored():
    """A background process, such as that of this test, can have inherited ignored signals."""
    handlers = {number: signal.signal(number, signal.SIG_DFL) for number in STOP_SIGNALS}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def wait_for_signal(request):
    """Waits for the thread that listens for signals."""
    while request.signal is None:
        threading.Event().wait(0.001)
    return request.signal


@pytest.mark.parametrize('number', STOP_SIGNALS)
def test_a_stop_signal_makes_a_request(number):
    with signals.stop_requests() as request:
        assert request.signal is None
        signal.raise_signal(number)
        assert wait_for_signal(request) == number
    assert signal.getsignal(number) == signal.SIG_DFL


@pytest.mark.parametrize('number', STOP_SIGNALS)
def test_an_ignored_signal_stays_ignored(number):
    signal.signal(number, signal.SIG_IGN)
    other = signal.SIGINT if number == signal.SIGTERM else signal.SIGTERM
    with signals.stop_requests() as request:
        signal.raise_signal(number)
        signal.raise_signal(other)
        assert wait_for_signal(request) == other
    with pytest.raises(Stopped) as stop, signals.interrupts():
        signal.raise_signal(number)
        signal.raise_signal(other)
    assert stop.value.number == other
    signals.end_at_once()
    assert signal.getsignal(number) == signal.SIG_IGN


@pytest.mark.parametrize('number', STOP_SIGNALS)
def test_a_stop_signal_interrupts_a_command(number):
    with pytest.raises(Stopped, match=f'^stopped by {number.name}$') as stop, signals.interrupts():
        signal.raise_signal(number)
    assert stop.value.number == number
    assert signal.getsignal(number) == signal.SIG_DFL


def test_what_an_interrupted_library_raises_counts_as_the_interrupt():
    with pytest.raises(Stopped), signals.interrupts():
        try:
            signal.raise_signal(signal.SIGINT)
        except BaseException:
            raise SystemError('initialization failed') from None


def test_an_interrupted_command_still_asks_for_stops_in_order():
    with signals.interrupts(), signals.stop_requests() as request:
        signal.raise_signal(signal.SIGINT)
        assert wait_for_signal(request) == signal.SIGINT


def test_without_a_signal_errors_pass():
    with pytest.raises(RunFailed), signals.interrupts():
        raise RunFailed('no')


def test_an_interrupted_writer_removes_its_temporary_file(tmp_path, monkeypatch):
    path = tmp_path / 'file'
    write_text(path, 'old')
    monkeypatch.setattr(os, 'fsync', lambda _: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(Stopped), signals.interrupts():
        write_text(path, 'new')
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {'file': 'old'}


def run(code, **environment):
    """Runs a program to its end, with the default handlers of signals."""
    start = 'import signal\nfor n in (1, 2, 15): signal.signal(n, signal.SIG_DFL)\n'
    return subprocess.run(
        [sys.executable, '-c', start + code],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )


SWALLOWED_IN_AN_IMPORT = """
from resnet_jax.console import signals
with signals.interrupts():
    try:
        import interrupted
    except BaseException:
        print('swallowed')
"""

IGNORED_IN_A_DESTRUCTOR = """
from resnet_jax.console import signals
class Interrupted:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)
with signals.interrupts():
    Interrupted()
    print('swallowed')
"""

AGAIN_WHILE_CLEANING_UP = """
import threading
from resnet_jax.console import signals
with signals.interrupts():
    try:
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, [])
        signal.signal(signal.SIGTERM, lambda *_: None)  # what C++ code does to the main thread
        signal.raise_signal(signal.SIGTERM)
        threading.Event().wait()
"""

WITHOUT_AN_END = """
import threading
from resnet_jax.console import signals
signals._PATIENCE_SECONDS = 0.0
with signals.interrupts():
    try:
        signal.raise_signal(signal.SIGTERM)
    finally:
        threading.Event().wait()
"""

IN_THE_SCRIPT = """
import sys
sys.argv[0] = 'bin/resnet-jax'
import resnet_jax
signal.raise_signal(signal.SIGTERM)
"""

BEFORE_THE_MODULE = """
import sys  # as in `python -m resnet_jax.main --workdir=x` while the module is looked for
sys.argv[:] = ['-m', '--workdir=x']
sys.orig_argv[:] = ['python', '-m', 'resnet_jax.main', '--workdir=x']
import resnet_jax
signal.raise_signal(signal.SIGTERM)
"""


@pytest.mark.parametrize(
    'code',
    [
        SWALLOWED_IN_AN_IMPORT,
        IGNORED_IN_A_DESTRUCTOR,
        AGAIN_WHILE_CLEANING_UP,
        WITHOUT_AN_END,
        IN_THE_SCRIPT,
        BEFORE_THE_MODULE,
    ],
)
def test_a_signal_that_python_cannot_raise_ends_the_process(code, tmp_path):
    (tmp_path / 'interrupted.py').write_text('import signal\nsignal.raise_signal(15)\n')
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get('PYTHONPATH')])])
    result = run(code, PYTHONPATH=path)
    assert (result.returncode, result.stdout) == (143, '')
    assert result.stderr == 'stopped by SIGTERM\n'


def test_a_library_that_imports_the_package_keeps_its_signals():
    result = run(
        "import sys\nsys.argv[:] = ['-m']\nsys.orig_argv[:] = ['python', '-m', 'other.module']\n"
        'import resnet_jax\nprint(signal.getsignal(15), resnet_jax.Prediction)'
    )
    assert result.stdout.startswith('0 <class'), result.stderr
