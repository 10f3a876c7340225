"""Which file `--config` means."""

import pytest
from support.paths import ROOT

from resnet_jax.config.config_files import find_config
from resnet_jax.errors import InputError

NAMES = [path.stem for path in (ROOT / 'configs').glob('*.py') if path.stem != '__init__']


@pytest.fixture(autouse=True)
def another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    return tmp_path


@pytest.mark.parametrize('name', NAMES)
def test_a_name_is_found_from_any_folder(name):
    assert find_config(name) == f'{ROOT}/configs/{name}.py'
    assert find_config(f'{name}:digits') == f'{ROOT}/configs/{name}.py:digits'


def test_a_file_of_that_name_takes_precedence(another_folder):
    (another_folder / 'resnet18').touch()
    (another_folder / 'resnet34').mkdir()
    assert find_config('resnet18:digits') == 'resnet18:digits'
    assert find_config('resnet34') == f'{ROOT}/configs/resnet34.py'


def test_the_home_folder_is_expanded(another_folder):
    (another_folder / 'home').mkdir()
    (another_folder / 'home' / 'mine.py').touch()
    assert find_config('~/mine.py:digits') == f'{another_folder}/home/mine.py:digits'


@pytest.mark.parametrize(
    'value',
    [
        'resnet19',
        'resnet18.txt:digits',
        '__init__',
        ':digits',
        'no/such.py',
        '~nobody/x',
        'x\udce9',
    ],
)
def test_an_unknown_name_is_refused_with_the_list_of_names(value):
    with pytest.raises(InputError) as refusal:
        find_config(value)
    assert str(refusal.value).startswith(f'--config={value}: expected a config file, such as')
    assert ', '.join(sorted(NAMES)) in str(refusal.value)
