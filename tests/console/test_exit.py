"""Ends of commands: statuses, one line of text, and standard streams that cannot be written."""

import os
import subprocess
import sys

import pytest

NAME = 'caf\udce9 ä \N{SNOWMAN}'
"""A name with a byte that is not UTF-8, and characters that ASCII lacks."""


def run(body, *, shell='', **environment):
    """Runs a command with the given body; `shell` is what follows it on a command line."""
    code = (
        'import os, signal, sys\n'
        'from resnet_jax.console.exit import exit_with\n'
        'from resnet_jax.errors import InputError, RunFailed, Stopped\n'
        f'name = {NAME!a}\n'
        'def command():\n'
        f'    {body}\n'
        'exit_with(command)\n'
    )
    return subprocess.run(
        ['bash', '-c', f'"$0" -c "$1" {shell}; exit "${{PIPESTATUS[0]}}"', sys.executable, code],
        capture_output=True,
        env=os.environ | environment,
    )


@pytest.mark.parametrize(
    ('body', 'status', 'printed'),
    [
        ('return None', 0, ''),
        ('return 1', 1, ''),
        ('sys.exit(3)', 3, ''),
        ('sys.exit()', 0, ''),
        ("raise InputError('no file')", 2, 'error: no file\n'),
        ("raise RunFailed('no space')", 1, 'failed: no space\n'),
        ("raise Stopped(signal.SIGHUP, 'stopped at 3')", 129, 'stopped at 3\n'),
        ('signal.signal(2, signal.SIG_IGN); signal.raise_signal(15)', 143, 'stopped by SIGTERM\n'),
    ],
)
def test_each_end_has_its_status_and_at_most_one_line(body, status, printed):
    result = run(body)
    assert (result.returncode, result.stderr.decode()) == (status, printed)


def test_a_bug_shows_its_traceback():
    result = run("{}['missing']")
    assert result.returncode == 1
    assert b'Traceback' in result.stderr


@pytest.mark.parametrize('length', [1, 10**6])
def test_a_pipe_that_nobody_reads_ends_the_command_in_silence(length):
    result = run(f"[print('x' * 100) for _ in range({length} // 100 + 1)]", shell='| true')
    assert (result.returncode, result.stderr) == (141, b'')


@pytest.mark.parametrize('unbuffered', ['', '1'])
@pytest.mark.parametrize('length', [1, 10**6])
def test_a_full_disk_under_standard_output_is_said(length, unbuffered):
    body = f"print('x' * {length}); return 0"
    result = run(body, shell='> /dev/full', PYTHONUNBUFFERED=unbuffered)
    assert result.returncode == 1
    [line] = result.stderr.decode().splitlines()
    assert line.startswith('failed: standard output cannot be written: No space left on device')


def test_a_failed_command_keeps_its_status_when_its_output_cannot_be_written():
    body = "print('x'); raise InputError('no file')"
    result = run(body, shell='> /dev/full', PYTHONUNBUFFERED='')
    assert result.returncode == 2
    assert result.stderr.startswith(b'error: no file\n')


@pytest.mark.parametrize('shell', ['>&-', '2>&-', '>&- 2>&-', '<&- >&- 2>&-', '2>/dev/full'])
def test_closed_streams_and_errors_that_cannot_be_written_change_no_status(shell):
    body = 'print(name, sys.stdout.isatty()); print(name, file=sys.stderr); return 7'
    result = run(body, shell=shell)
    assert result.returncode == 7
    assert b'Traceback' not in result.stderr + result.stdout


ASCII = {'LC_ALL': 'C', 'PYTHONUTF8': '0', 'PYTHONIOENCODING': 'ascii', 'PYTHONCOERCECLOCALE': '0'}


@pytest.mark.parametrize(
    ('environment', 'text'),
    [
        (ASCII, r'caf\udce9 \xe4 \u2603'),
        ({'PYTHONUTF8': '1'}, 'caf\\udce9 ä \N{SNOWMAN}'),
    ],
)
def test_characters_that_the_terminal_lacks_are_escaped(environment, text):
    result = run('print(name); raise InputError(name)', **environment)
    assert result.returncode == 2
    assert result.stdout.decode() == f'{text}\n'
    assert result.stderr.decode() == f'error: {text}\n'
