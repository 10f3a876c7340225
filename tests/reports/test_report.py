"""`report` on a real small run, and on runs that are damaged or hostile."""

import csv
import html as markup
import io
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
from support.disks import mounted
from support.simulated_imagenet import write_run

import resnet_jax
from resnet_jax.config import data_sets, schema
from resnet_jax.console.signals import StopRequest
from resnet_jax.console.terminal import Terminal
from resnet_jax.errors import InputError, RunFailed
from resnet_jax.evaluation.confusion import count_confusion
from resnet_jax.evaluation.confusion_files import load_confusion
from resnet_jax.evaluation.metrics import EvaluationResult
from resnet_jax.reports.report import write_report
from resnet_jax.reports.shell import write_command
from resnet_jax.storage.workdir import Workdir
from resnet_jax.training import imported_run, loop
from resnet_jax.training.metrics_logger import MetricsLogger

FILES = {
    'progress.png',
    'confusion.png',
    'confusion.gif',
    'confused_pairs.csv',
    'machine.png',
    'index.html',
}


def train(folder, num_epochs):
    config = data_sets.use_data(schema.get_config(), 'digits')
    config.num_epochs = num_epochs
    config.batch_size = 256
    config.model.depth = 8
    config.model.width = 4
    config.schedule.name = 'constant'
    config.schedule.warmup_epochs = 0.0
    loop.train(config, folder, Terminal(io.StringIO()), StopRequest())
    return Workdir(folder)


@pytest.fixture(scope='module')
def two_epochs(tmp_path_factory):
    return train(tmp_path_factory.mktemp('run') / 'digits', 2)


@pytest.fixture(scope='module')
def simulated(tmp_path_factory):
    """A run with three evaluations of ImageNet's classes on a machine with four GPUs."""
    return write_run(tmp_path_factory.mktemp('run') / 'imagenet', 3, examples_per_class=10)


@pytest.fixture
def run(two_epochs, tmp_path):
    """A copy of the run, which a test can damage."""
    return Workdir(shutil.copytree(two_epochs.path, tmp_path / 'run'))


def test_every_evaluation_of_a_run_leaves_its_confusion(two_epochs):
    rows = two_epochs.read_metrics()
    assert two_epochs.list_confusion_steps() == [int(row['step']) for row in rows] == [5, 10]
    for row in rows:
        saved = load_confusion(two_epochs.confusion_file(int(row['step'])))
        assert (saved.step, saved.epoch) == (int(row['step']), float(row['epoch']))
        assert (saved.counts.num_examples, saved.counts.num_classes) == (360, 10)
        for k, name in (5, 'validation_top5'), (1, 'validation_top1'):
            assert np.trace(saved.counts.matrix(k)) / 360 == float(row[name])
            assert saved.counts.accuracy(k) == float(row[name])


def test_a_continued_run_keeps_its_confusion_and_deletes_that_of_later_steps(tmp_path, two_epochs):
    run = train(tmp_path / 'run', 1)
    before = run.confusion_file(5).read_bytes()
    shutil.copy(run.confusion_file(5), run.confusion_file(7))
    shutil.copy(run.confusion_file(5), run.confusion_file(99))
    train(run.path, 2)
    assert run.list_confusion_steps() == [5, 10]
    assert run.confusion_file(5).read_bytes() == before
    assert run.confusion_file(10).read_bytes() == two_epochs.confusion_file(10).read_bytes()


@pytest.mark.parametrize('writes_files', [True, False])
def test_only_one_process_writes_the_confusion(writes_files, tmp_path):
    counts = count_confusion(
        np.array([0, 1]), np.array([[0, 1], [0, 1]]), num_examples=2, num_classes=2
    )
    logger = MetricsLogger(
        Workdir(tmp_path),
        Terminal(io.StringIO()),
        writes_files=writes_files,
        machine_log=None,
        sums=dict.fromkeys(('loss', 'top1', 'top5'), (1.0, 2.0)),
        start_step=0,
        last_step=10,
        steps_per_epoch=4,
        batch_size=2,
        image_size=8,
        leading='top1',
    )
    logger.add_row(6, 0.1, EvaluationResult('validation', 6, 2, 0, 0.7, 0.5, 1.0, counts, False))
    assert Workdir(tmp_path).list_confusion_steps() == ([6] if writes_files else [])
    if writes_files:
        assert load_confusion(tmp_path / 'confusion' / '6.npz').epoch == 1.5


def test_a_confusion_that_cannot_be_written_stops_the_run(tmp_path):
    folder = tmp_path / 'run'
    folder.mkdir()
    (folder / 'confusion').write_text('in the way')
    with pytest.raises(RunFailed, match='confusion: this folder cannot be created: '):
        train(folder, 1)


def test_the_report_of_a_run_is_complete(run):
    page = resnet_jax.Run(run.path).write_report()
    assert page == run.report / 'index.html'
    assert {path.name for path in run.report.iterdir()} == FILES
    html = page.read_text()
    for row in run.read_metrics()[-1:]:
        assert f'{float(row["validation_top5"]):.2%}' in html
    assert 'ResNet-8 on digits' in html
    assert 'optimizer.learning_rate' in html
    assert run.read_environment()['python'] in html
    gif = PIL.Image.open(run.report / 'confusion.gif')
    assert gif.n_frames == 2


def test_a_report_is_replaced_by_the_next(run):
    write_report(run)
    before = {path.name: path.read_bytes() for path in run.report.iterdir()}
    write_report(run)
    assert {path.name: path.read_bytes() for path in run.report.iterdir()} == before


def test_the_pairs_of_imagenet_are_keyed_by_synset_id(simulated):
    write_report(simulated)
    assert {path.name for path in simulated.report.iterdir()} == FILES
    rows = list(csv.DictReader((simulated.report / 'confused_pairs.csv').open()))
    names = simulated.read_class_names()
    counts = load_confusion(simulated.confusion_file(3 * 5004)).counts
    first, five = counts.matrix(1), counts.matrix()
    for row in rows:
        true, predicted = int(row['true_index']), int(row['predicted_index'])
        assert f'{row["true_id"]} {row["true_name"]}' == names[true]
        assert f'{row["predicted_id"]} {row["predicted_name"]}' == names[predicted]
        assert int(row['top1_count']) == first[true, predicted]
        assert int(row['top5_count']) == five[true, predicted]
        assert int(row['num_true_examples']) == 10
    assert sum(int(row['top1_count']) for row in rows) == 10_000 - np.trace(first)
    html = (simulated.report / 'index.html').read_text()
    assert html.count('<th scope="row">') > 1000 + 3 * 20
    assert f'{rows[0]["true_id"]}</th>' in html
    assert f'{rows[0]["predicted_id"]}</td>' in html


def measure_blocks(path):
    """Returns the mean brightness inside and outside the planted clusters, without the diagonal."""
    pixels = np.asarray(PIL.Image.open(path).convert('L'), float)
    assert pixels.shape == (1000, 1000)
    corner = pixels[123:992, 101:970] - pixels.min()
    edge = round(869 * 398 / 1000)
    off_diagonal = np.abs(np.subtract.outer(np.arange(869), np.arange(869))) > 60
    inside = np.zeros((869, 869), bool)
    inside[:edge, :edge] = inside[edge:, edge:] = True
    return corner[inside & off_diagonal].mean(), corner[~inside & off_diagonal].mean()


@pytest.mark.parametrize('order', ['index', 'similarity'])
def test_the_planted_clusters_can_be_seen(order, simulated):
    write_report(simulated, order)
    inside, outside = measure_blocks(simulated.report / 'confusion.png')
    assert inside > 5 * outside


def test_a_run_without_confusion_or_machine_shows_the_rest(run):
    shutil.rmtree(run.confusion)
    run.machine_csv.unlink()
    page = write_report(run)
    assert {path.name for path in run.report.iterdir()} == {'progress.png', 'index.html'}
    assert 'Confusion' not in page.read_text()


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (lambda run: (run.path / 'config.json').unlink(), 'expected the folder of a run'),
        (lambda run: run.metrics_csv.unlink(), 'expected at least one evaluation'),
        (lambda run: run.metrics_csv.write_text('a\n'), 'metrics.csv: expected a table'),
        (lambda run: run.confusion_file(5).write_bytes(b'PK'), '5.npz: expected the confusion'),
        (lambda run: (run.path / 'class_names.txt').unlink(), 'class_names.txt: expected'),
        (lambda run: (run.path / 'machine.csv').write_text('a\n'), 'the columns step, time_s'),
        (lambda run: (run.path / 'environment.json').write_text('['), 'expected JSON'),
        (
            lambda run: shutil.copy(
                write_run(run.path / 'other', 1, 1).confusion_file(5004), run.confusion
            ),
            'expected counts of one network, found .10, 1000. classes; delete the files',
        ),
    ],
)
def test_a_damaged_run_is_bad_input_and_leaves_no_report(damage, message, run):
    damage(run)
    with pytest.raises(InputError, match=message):
        write_report(run)
    assert not run.report.exists()


def test_a_report_in_the_place_of_a_file_says_why(run):
    run.report.write_text('in the way')
    with pytest.raises(RunFailed, match='report: this folder cannot be created'):
        write_report(run)
    assert run.report.read_text() == 'in the way'


@pytest.mark.parametrize('exists', [True, False])
def test_a_report_in_the_place_of_a_link_is_refused_and_changes_no_other_folder(run, exists):
    other = run.path.parent / 'site'
    if exists:
        other.mkdir()
        (other / 'index.html').write_text('another page')
    run.report.symlink_to(other)
    with pytest.raises(InputError, match='report: expected a folder, found a link to .*site'):
        write_report(run)
    assert not exists or [path.read_text() for path in other.iterdir()] == ['another page']


def test_a_folder_in_the_place_of_a_picture_is_refused_before_anything_is_replaced(run):
    write_report(run)
    (run.report / 'index.html').write_text('old')
    (run.report / 'machine.png').unlink()
    (run.report / 'machine.png').mkdir()
    with pytest.raises(InputError, match='machine.png: expected a regular file .* found a folder'):
        write_report(run)
    assert (run.report / 'index.html').read_text() == 'old'


def test_a_report_on_a_read_only_disk_says_why_and_stays(run):
    write_report(run)
    before = {path.name: path.read_bytes() for path in run.report.iterdir()}
    with mounted(run.report, '--bind', run.report) as is_mounted:
        if not is_mounted:
            pytest.skip('mounting is not possible here')
        subprocess.run(['mount', '-o', 'remount,bind,ro', run.report], check=True)
        with pytest.raises(RunFailed, match='cannot be written: Read-only file system'):
            write_report(run)
    assert {path.name: path.read_bytes() for path in run.report.iterdir()} == before


def test_other_files_among_the_confusions_are_left_alone(run):
    for name in ('notes.txt', 'x.npz', '007.npz', '٣.npz', '.5.npz.123.tmp'):
        (run.confusion / name).write_text('no counts')
    assert run.list_confusion_steps() == [5, 10]
    assert write_report(run).exists()


def test_more_outputs_than_names_are_numbered(run):
    run.write_class_names(['zero', 'one'])
    assert '>output 9<' in write_report(run).read_text()


def test_an_imported_run_that_was_evaluated_has_a_report(two_epochs, tmp_path):
    weights = tmp_path / 'weights.safetensors'
    resnet_jax.Run(two_epochs.path).export(weights, file_format='safetensors')
    config = two_epochs.read_config()
    imported_run.import_weights('resnet_jax', weights, tmp_path / 'imported', config)
    imported = resnet_jax.Run(tmp_path / 'imported')
    with pytest.raises(InputError, match='or evaluate an imported run'):
        imported.write_report()
    result = imported.evaluate(checkpoint='latest')
    page = imported.write_report()
    html = page.read_text()
    assert {path.name for path in page.parent.iterdir()} == {
        'confusion.png',
        'confusion.gif',
        'confused_pairs.csv',
        'index.html',
    }
    assert 'ResNet-8 on digits, imported from resnet_jax' in html
    assert f'{result.top1:.2%}</dd><dd class="note">validation, as imported</dd>' in html
    assert 'epoch 0' not in html
    assert 'nan' not in read_words(html)


def read_words(html):
    """Returns the words of a page without its pictures, its script and its style."""
    return re.sub('<style>.*?</style>|<script>.*?</script>|<[^>]*>', ' ', html, flags=re.DOTALL)


def test_every_accuracy_and_picture_says_its_epoch(run):
    html = write_report(run).read_text()
    tiles = re.findall('<dt>(.*?)</dt><dd class="value">.*?</dd><dd class="note">(.*?)</dd>', html)
    about = dict(tiles)
    best = max(run.read_metrics(), key=lambda row: (float(row['validation_top1']), row['epoch']))
    for name in ('Top-1 accuracy', 'Top-5 accuracy', 'Loss'):
        assert about[name] == f'validation, epoch {best["epoch"]}'
    assert about['Images a second'] == 'training, epoch 2'
    captions = re.findall('<figcaption>(.*?)</figcaption>', html)
    assert len(captions) == 4
    assert all(re.search('[Ee]poch 2', caption) for caption in captions)
    assert all('poch 2' in words for words in re.findall('alt="(.*?)"', html))


def test_with_few_classes_top1_leads_and_with_many_top5(run, simulated):
    for folder, expected in (run, ['Top-1', 'Top-5']), (simulated, ['Top-5', 'Top-1']):
        html = write_report(folder).read_text()
        assert re.findall('<dt>(Top-.) accuracy', html) == expected
        leading, second = (name.lower() for name in expected)
        assert f'Sorted by {leading} accuracy, then by {second} accuracy' in html
        [header] = re.findall('id="classes".*?<thead>(.*?)</thead>', html, re.DOTALL)
        assert re.findall('>(top-.)<', header) == [leading, second]


def test_a_run_with_one_evaluation_and_cells_that_were_not_measured_has_a_report(run):
    [row, _] = run.read_metrics()
    run.write_metrics([row | {'images_per_second': '', 'train_loss': 'nan'}])
    html = write_report(run).read_text()
    assert '<dt>Images a second</dt><dd class="value">–</dd>' in html
    assert 'nan' not in read_words(html)


def test_the_page_shows_the_command_as_the_shell_reads_it(run):
    arguments = ['--workdir=runs/a "$HOME" & <b>', '--config=configs/resnet18.py:digits']
    command = ['/anywhere/resnet_jax/main.py', *arguments]
    run.write_environment(run.read_environment() | {'command': command})
    html = write_report(run).read_text()
    [line] = re.findall('<code>(.*?)</code>', html, re.DOTALL)
    assert markup.unescape(line) == write_command(command)
    run.write_environment({'command': ['my_script.py']})
    assert '<code>' not in write_report(run).read_text()


def test_names_that_are_not_utf8_do_not_break_a_report(run):
    config = run.read_config()
    config.data.dir = '/photos/\udcff'
    run.write_config(config)
    run.write_environment({'command': ['\udcff'], '\ud800': '\udfff'})
    path = Workdir(run.path.rename(run.path.with_name('run\udcff')))
    assert b'run?, a run of resnet_jax' in write_report(path).read_bytes()


HOSTILE = (
    '</table><script>document.title="hacked"</script><img src="https://x.invalid/y.png">$\\x{$'
)


def test_hostile_names_are_shown_as_text(run):
    run.write_class_names([f'{HOSTILE}{i}' for i in range(10)])
    run.write_environment({HOSTILE: {HOSTILE: [HOSTILE]}})
    html = write_report(run).read_text()
    assert html.count('<script>') == 1
    assert '<img src="https' not in html
    assert '&lt;script&gt;document.title=&#34;hacked&#34;' in html
    table = (run.report / 'confused_pairs.csv').read_text()
    assert all(row['true_id'].startswith('</table>') for row in csv.DictReader(io.StringIO(table)))


def command(*arguments):
    return subprocess.run(
        [sys.executable, '-m', 'resnet_jax.report', *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_command_prints_where_the_page_is(run):
    done = command(f'--workdir={run.path}', '--open=false', '--order=similarity')
    assert done.returncode == 0, done.stderr
    assert done.stdout == f'{run.report / "index.html"}\n'
    assert {path.name for path in run.report.iterdir()} == FILES


def test_the_command_refuses_a_missing_run_and_an_unknown_order(tmp_path):
    for arguments in ([f'--workdir={tmp_path}'], [f'--workdir={tmp_path}', '--order=name'], []):
        done = command(*arguments)
        assert done.returncode == 2
        assert 'Traceback' not in done.stderr


@pytest.mark.slow
def test_thirty_evaluations_of_imagenet_are_drawn(tmp_path):
    run = write_run(tmp_path / 'run', 30)
    assert max(run.confusion_file(step).stat().st_size for step in run.list_confusion_steps()) < 2e6
    page = write_report(run)
    gif = PIL.Image.open(run.report / 'confusion.gif')
    assert gif.n_frames == 30
    assert (run.report / 'confusion.gif').stat().st_size < 10_000_000
    inside, outside = measure_blocks(run.report / 'confusion.png')
    assert inside > 5 * outside
    epochs = re.findall(r'epoch (\d+) [\d.]+%', page.read_text())
    assert epochs == [str(epoch) for epoch in range(1, 31)]
    config = json.loads((run.path / 'config.json').read_text())
    assert config['num_epochs'] == 30
