"""The command on the page, as a shell reads it."""

import subprocess

import pytest

from resnet_jax.reports.shell import write_command

FOLDERS = ['runs/digits', "it's a run", '$HOME/`id`/"x"', '-a;b&c|d>e', 'new\nline \\', 'é *?', '']


def test_the_command_can_be_pasted_into_a_shell():
    for folder in FOLDERS:
        arguments = [f'--workdir={folder}', '--config=configs/resnet18.py:digits']
        line = write_command(['/anywhere/resnet_jax/main.py', *arguments])
        script = f'python() {{ printf "%s\\0" "$@"; }}; {line}'
        seen = subprocess.run(['sh', '-c', script], capture_output=True, text=True, check=True)
        assert seen.stdout.split('\0')[:-1] == ['-m', 'resnet_jax.main', *arguments]


@pytest.mark.parametrize(
    'arguments',
    [['my_script.py'], [], None, 'x', [1], {}, ['/resnet_jax/main.py', '--workdir=\udcff']],
)
def test_a_command_that_cannot_be_pasted_is_not_shown(arguments):
    assert write_command(arguments) == ''
