"""The Python face: training from Python, what a run says about itself, and the README's section."""

import re
import shutil
import sys
import threading

import numpy as np
import pytest
from support.paths import FIXTURES, ROOT
from support.runs import as_png, make_config

import resnet_jax


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """A run of three epochs, trained in a thread: steps 5, 10 and 15."""
    folder = tmp_path_factory.mktemp('python') / 'digits'
    runs = []
    thread = threading.Thread(target=lambda: runs.append(resnet_jax.train(make_config(), folder)))
    thread.start()
    thread.join()
    return runs[0]


def test_metrics_are_columns_of_numbers(run):
    metrics = run.metrics()
    assert metrics['step'].tolist() == [5, 10, 15]
    assert metrics['epoch'].tolist() == [1, 2, 3]
    assert all(column.dtype == np.float64 and len(column) == 3 for column in metrics.values())
    assert metrics['validation_top5'][-1] == run.evaluate(checkpoint='latest').top5


def test_checkpoints_say_what_they_hold_and_which_is_best(run):
    checkpoints = run.checkpoints()
    assert [(c.step, c.epoch) for c in checkpoints] == [(5, 1), (10, 2), (15, 3)]
    [best] = [c for c in checkpoints if c.is_best]
    assert best.step == run.evaluate(checkpoint='best').step
    assert best.scores['top1'] == max(c.scores['top1'] for c in checkpoints)


def test_a_damaged_checkpoint_is_left_out(run, tmp_path):
    copied = resnet_jax.Run(shutil.copytree(run.workdir.path, tmp_path / 'run'))
    (copied.workdir.checkpoints / '10' / 'metadata' / 'metadata').write_text('{')
    assert [c.step for c in copied.checkpoints()] == [5, 15]


def test_a_run_says_what_it_is(run, tmp_path):
    best = max(run.metrics()['validation_top1'])
    assert repr(run).startswith(f'<Run {str(run.workdir.path)!r}: ResNet-8 v2 (mxnet) on digits, ')
    assert f'epoch 3 of 3, best top-1 {best:.2%} and top-5 ' in repr(run)
    copied = resnet_jax.Run(shutil.copytree(run.workdir.path, tmp_path / 'run'))
    copied.workdir.metrics_csv.write_text('nonsense')
    assert repr(copied).endswith('metrics.csv is damaged>')
    copied.workdir.metrics_csv.unlink()
    assert repr(copied).endswith('not evaluated yet>')
    assert copied.metrics() == {}


def test_training_again_changes_nothing(run):
    before = run.metrics()
    again = resnet_jax.train(make_config(), run.workdir.path)
    assert again.metrics().keys() == before.keys()
    assert again.metrics()['step'].tolist() == [5, 10, 15]


def test_a_config_that_is_wrong_is_refused_before_anything_is_written(tmp_path):
    config = make_config()
    config.model.depth = 19
    with pytest.raises(resnet_jax.InputError, match='depth = 19'):
        resnet_jax.train(config, tmp_path / 'run')
    assert not (tmp_path / 'run').exists()


def test_weights_become_a_run(tmp_path):
    run = resnet_jax.Run.from_weights(
        FIXTURES / 'timm' / 'basic.safetensors', tmp_path / 'run', file_format='timm'
    )
    assert [c.step for c in run.checkpoints()] == [0]
    assert 'not evaluated yet' in repr(run)
    with pytest.raises(resnet_jax.InputError, match='new or empty'):
        resnet_jax.Run.from_weights(
            FIXTURES / 'timm' / 'basic.safetensors', tmp_path / 'run', file_format='timm'
        )


def test_the_readme_s_python_section_runs(tmp_path, monkeypatch, capsys):
    text = (ROOT / 'README.md').read_text()
    section = text[text.index('## From Python') :]
    section = section[: section.index('\n## ', 1)]
    blocks = re.findall(r'```python\n(.*?)```', section, re.DOTALL)
    assert len(blocks) >= 2
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.chdir(tmp_path)
    from configs import resnet18

    monkeypatch.setattr(resnet18, 'get_config', lambda data: make_config())
    (tmp_path / 'cat.jpg').write_bytes(as_png(np.full((40, 30, 3), 90, np.uint8)))
    shutil.copy(FIXTURES / 'timm' / 'basic.safetensors', 'resnetv2_18.safetensors')
    exec('\n'.join(blocks), {'__name__': 'readme'})
    output = capsys.readouterr().out
    assert 'ResNet-8 v2 (mxnet) on digits, epoch 3 of 3' in output
    assert re.search(r'\d+\.\d% \d', output)
    assert sys.modules['configs.resnet18'] is resnet18
