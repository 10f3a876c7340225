"""The training command in separate processes: killed and continued, and on real photographs."""

import json
import math
import shutil
from pathlib import Path

import PIL.Image
import pytest
from support.running import (
    DIGITS,
    SMALL,
    after_saving,
    assert_same_state,
    read_rows,
    run,
    start_and_halt,
)

pytestmark = pytest.mark.slow

SIX_EPOCHS = (*SMALL, '--config.num_epochs=6')


def test_a_killed_run_continues_to_the_same_numbers(tmp_path):
    whole, killed = tmp_path / 'whole', tmp_path / 'killed'
    process = start_and_halt(after_saving(11), DIGITS, killed, *SIX_EPOCHS)
    process.kill()
    process.communicate()
    assert process.returncode == -9
    assert not (killed / 'checkpoints' / '66').exists()

    output = run(DIGITS, killed, *SIX_EPOCHS)
    assert 'continuing from step' in output
    assert 'complete' in output
    run(DIGITS, whole, *SIX_EPOCHS)
    assert [row['step'] for row in read_rows(whole)] == ['11', '22', '33', '44', '55', '66']
    assert read_rows(killed) == read_rows(whole)
    assert_same_state(killed, whole, 66)
    environment = json.loads((whole / 'environment.json').read_text())
    assert len(environment['devices']) == 4

    before = {path: path.stat().st_mtime_ns for path in killed.rglob('*')}
    output = run(DIGITS, killed, *SIX_EPOCHS)
    assert 'complete' in output
    assert 'training examples' not in output  # no step is prepared, compiled or trained
    assert {path: path.stat().st_mtime_ns for path in killed.rglob('*')} == before


FOLDER = (
    '--config.data.source=folder',
    '--config.data.name=photographs',
    '--config.model.width=8',
    '--config.data.image_size=64',
    '--config.data.resize_size=73',
    '--config.num_epochs=1',
)


def assert_trained_for_one_epoch(workdir, classes):
    [row] = read_rows(workdir)
    assert row['epoch'] == '1'
    assert 0 < float(row['train_loss']) < 20
    assert math.isfinite(float(row['validation_loss']))  # few steps: the statistics lag
    assert (workdir / 'checkpoints' / row['step']).is_dir()
    assert (workdir / 'class_names.txt').read_text().splitlines() == classes


def test_training_on_imagenet_photographs(tmp_path, shared_data):
    from resnet_jax.data import class_names

    data = tmp_path / 'data'
    synsets = sorted(path.name for path in (shared_data / 'imagenet_samples').iterdir())
    for synset in synsets:
        files = sorted((shared_data / 'imagenet_samples' / synset).iterdir())
        for split in ('train', 'validation'):
            (data / split / synset).mkdir(parents=True)
            for file in files:
                (data / split / synset / file.name).symlink_to(file.resolve())
    run(
        'configs/resnet18.py',
        tmp_path / 'run',
        *FOLDER,
        f'--config.data.dir={data}',
        '--config.batch_size=32',
    )
    assert len(synsets) == 116
    assert_trained_for_one_epoch(tmp_path / 'run', list(class_names.describe(synsets)))
    assert read_rows(tmp_path / 'run')[0]['step'] == '3'


def test_training_on_pieces_of_two_photographs(tmp_path):
    import sklearn.datasets

    folder = Path(sklearn.datasets.__file__).parent / 'images'
    for name in ('china', 'flower'):
        photograph = PIL.Image.open(folder / f'{name}.jpg')
        for i in range(20):
            split = 'train' if i % 5 else 'validation'
            (tmp_path / split / name).mkdir(parents=True, exist_ok=True)
            left, top = 120 * (i % 5), 100 * (i // 5)
            piece = photograph.crop((left, top, left + 120, top + 100))
            piece.save(tmp_path / split / name / f'{i}.jpg', quality=90)
    flags = (*FOLDER, f'--config.data.dir={tmp_path}', '--config.batch_size=8')
    output = run('configs/resnet18.py', tmp_path / 'run', *flags)
    assert '32 training examples, 2 classes' in output
    assert_trained_for_one_epoch(tmp_path / 'run', ['china', 'flower'])
    assert read_rows(tmp_path / 'run')[0]['validation_top5'] == '1.0'

    shutil.rmtree(tmp_path / 'train' / 'china')
    (tmp_path / 'train' / 'china').mkdir()
    output = run('configs/resnet18.py', tmp_path / 'other', *flags, status=2)
    assert "split 'train', class 'china': expected images" in output
