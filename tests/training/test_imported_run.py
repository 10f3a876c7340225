"""Runs made from imported weights, and their export."""

import hashlib
import json
import shutil

import jax
import numpy as np
import pytest
from support.paths import FIXTURES
from support.running import command, read_state

import resnet_jax
from resnet_jax.config import schema
from resnet_jax.errors import InputError, RunFailed
from resnet_jax.training import imported_run

TIMM = FIXTURES / 'timm'
BASIC = TIMM / 'basic.safetensors'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('runs') / 'imported'
    imported_run.import_weights('timm', BASIC, folder)
    return folder


def test_the_folder_is_a_run_at_step_0(folder):
    run = resnet_jax.Run(folder)
    assert (run.config.model.depth, run.config.model.variant) == (8, 'timm')
    assert run.config.model.dtype == 'float32'
    assert run.class_names() == tuple('01234')
    environment = json.loads((folder / 'environment.json').read_text())
    assert environment['weights'] == {
        'file': str(BASIC),
        'sha256': hashlib.sha256(BASIC.read_bytes()).hexdigest(),
        'format': 'timm',
    }
    assert [path.name for path in (folder / 'checkpoints').iterdir()] == ['0']


def test_the_run_predicts(folder):
    image = np.random.default_rng(0).integers(0, 256, (300, 280, 3), np.uint8)
    [predictions] = resnet_jax.Run(folder).predictor('latest').predict([image])
    assert sorted(p.name for p in predictions) == list('01234')
    assert sum(p.probability for p in predictions) == pytest.approx(1, abs=1e-6)


def test_export_and_import_give_identical_arrays(folder, tmp_path):
    run = resnet_jax.Run(folder)
    assert run.export(tmp_path / 'a.safetensors', file_format='safetensors') == [
        tmp_path / 'a.safetensors'
    ]
    imported_run.import_weights('resnet_jax', tmp_path / 'a.safetensors', tmp_path / 'again')
    again = resnet_jax.Run(tmp_path / 'again')
    assert again.config.to_dict() == run.config.to_dict()
    assert again.class_names() == run.class_names()
    before, after = read_state(folder, 0), read_state(tmp_path / 'again', 0)
    jax.tree.map(np.testing.assert_array_equal, after, before)
    assert len(jax.tree.leaves(before['params'])) == 25
    assert len(jax.tree.leaves(before['batch_stats'])) == 14


def test_files_of_this_project_and_of_timm_are_not_confused(folder, tmp_path):
    resnet_jax.Run(folder).export(tmp_path / 'a.safetensors', file_format='safetensors')
    with pytest.raises(InputError, match='use --format=resnet_jax'):
        imported_run.import_weights('timm', tmp_path / 'a.safetensors', tmp_path / 'run')
    with pytest.raises(InputError, match='use --format=timm for a file of timm'):
        imported_run.import_weights('resnet_jax', BASIC, tmp_path / 'run')
    config = schema.get_config()
    with pytest.raises(
        InputError, match="depth: expected 18, found 8\n.*variant|variant: expected 'mxnet'"
    ):
        imported_run.import_weights(
            'resnet_jax', tmp_path / 'a.safetensors', tmp_path / 'r', config
        )


def refused(tmp_path, content, **arguments):
    """Returns the message of an import that must fail and leave no other file."""
    weights = tmp_path / 'a.safetensors'
    weights.write_bytes(content)
    with pytest.raises((InputError, RunFailed)) as error:
        imported_run.import_weights('timm', weights, tmp_path / 'run', **arguments)
    assert [path.name for path in tmp_path.iterdir()] == ['a.safetensors']
    return str(error.value)


def test_a_refused_file_leaves_no_folder_behind(tmp_path):
    assert 'complete .safetensors' in refused(tmp_path, BASIC.read_bytes()[:-1])
    message = refused(tmp_path, BASIC.read_bytes(), config=schema.get_config())
    assert "variant: expected 'mxnet'" in message


def test_a_disk_that_fails_during_the_import_leaves_no_folder_behind(tmp_path, monkeypatch):
    def fail(*_):
        raise RunFailed('no space')

    monkeypatch.setattr('resnet_jax.checkpoints.writing.CheckpointWriter.save', fail)
    assert refused(tmp_path, BASIC.read_bytes()) == 'no space'


def test_a_folder_in_use_is_left_as_it_is(folder, tmp_path):
    used = shutil.copytree(folder, tmp_path / 'used')
    before = sorted(used.rglob('*'))
    with pytest.raises(InputError, match='new or empty'):
        imported_run.import_weights('timm', BASIC, used)
    assert sorted(used.rglob('*')) == before


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / 'run').mkdir()
    imported_run.import_weights('timm', BASIC, tmp_path / 'run')
    assert resnet_jax.Run(tmp_path / 'run').config.model.width == 8


@pytest.mark.slow
def test_the_commands_import_and_export(tmp_path):
    flags = ('--format=timm', f'--weights={BASIC}', f'--workdir={tmp_path / "run"}')
    done = command('import_weights', *flags, '--config=configs/resnet18.py', '--config.seed=7')
    assert done.returncode == 2
    assert "config.model.variant: expected 'mxnet', found 'timm'" in done.stderr
    done = command('import_weights', *flags)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        f'{tmp_path / "run"}: ResNet-8 v2 (timm, imagenet stem, width 8, 5 classes)\n'
    )
    flags = (f'--workdir={tmp_path / "run"}', f'--output={tmp_path / "a.st"}')
    done = command('export', *flags, '--format=safetensors')
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f'{tmp_path / "a.st"}: ')


@pytest.mark.slow
@pytest.mark.parametrize(('package', 'file_format'), [('h5py', 'keras'), ('safetensors', 'timm')])
def test_a_missing_package_ends_the_command_with_status_2(tmp_path, package, file_format):
    (tmp_path / 'path' / package).mkdir(parents=True)
    (tmp_path / 'path' / package / '__init__.py').write_text('raise ImportError("none")')
    done = command(
        'import_weights',
        *(f'--format={file_format}', f'--weights={BASIC}', f'--workdir={tmp_path / "run"}'),
        PYTHONPATH=str(tmp_path / 'path'),
    )
    assert done.returncode == 2
    assert 'Traceback' not in done.stderr
    assert f'package {package}, found none' in done.stderr
    assert not (tmp_path / 'run').exists()
