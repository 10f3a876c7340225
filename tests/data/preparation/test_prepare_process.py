"""The command `prepare` in its own process: kills, signals, full disks, memory."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from support.disks import fill, mounted
from support.preparing import PHOTOS, folder_config, prepared_config, read_examples, read_files
from support.running import DIGITS, ROOT, finish, wait_until

from resnet_jax.data.sources import registry

pytestmark = pytest.mark.slow

NUM_IMAGES = 1200
FILE_BYTES = 100 * 45 * 60 * 3
"""Size of a file that gives twelve files for training. The command has no flag for it."""

COMMAND = """
import sys
from absl import app, flags
from resnet_jax import prepare as command
from resnet_jax.config import flags as project_flags
from resnet_jax.data.preparation import prepare
prepare.FILE_BYTES = int(sys.argv.pop(1))
project_flags.run(command.main)
"""


def write_images(root, num_images):
    """Writes JPEGs of 160 x 120 px: `num_images` for training, a tenth of that for validation."""
    photo = PIL.Image.open(PHOTOS[0])
    for split, count in {'train': num_images, 'validation': num_images // 10}.items():
        for number in range(count):
            path = root / split / 'abc'[number % 3] / f'{number:05}.jpg'
            path.parent.mkdir(parents=True, exist_ok=True)
            left, top = number % 480, number % 307
            photo.crop((left, top, left + 160, top + 120)).save(path, quality=90)
    return root


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp('photographs'), NUM_IMAGES)


def start(output, *flags, data=None, file_bytes=FILE_BYTES, config=DIGITS, **environment):
    """Starts the command with small files."""
    source = ['--config.data.source=folder', '--config.data.name=photographs']
    if data:
        flags = (*source, f'--config.data.dir={data}', '--size=45', '--encoding=raw', *flags)
    arguments = [str(file_bytes), f'--config={config}', f'--output={output}', *flags]
    return subprocess.Popen(
        [sys.executable, '-c', COMMAND, *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(output, *flags, status=0, **options):
    printed = finish(start(output, *flags, **options), status)
    assert 'Traceback' not in printed
    return printed


@pytest.fixture(scope='module')
def whole(photographs, tmp_path_factory):
    """Content of the files of an uninterrupted preparation."""
    output = tmp_path_factory.mktemp('whole') / 'output'
    run(output, data=photographs)
    files = read_files(output)
    assert sum('-train.tfrecord-' in name for name in files) == 12
    assert sum('-validation.tfrecord-' in name for name in files) == 2
    return files


def num_written(output):
    try:
        return len((output / 'unfinished/files.jsonl').read_text().splitlines())
    except FileNotFoundError:
        return 0


@pytest.mark.parametrize('written', [(1, 3, 12), (7,)])
def test_killed_and_continued_is_one_preparation(photographs, whole, tmp_path, written):
    output = tmp_path / 'output'
    for count in written:
        process = start(output, data=photographs)
        wait_until(lambda count=count: num_written(output) >= count, process)
        process.kill()
        process.communicate()
        assert (output / 'unfinished').exists()
    printed = run(output, data=photographs)
    assert 'images are already written; continuing' in printed
    assert read_files(output) == whole


@pytest.mark.parametrize('milliseconds', [5, 100, 400])
def test_killed_at_any_moment_of_writing(photographs, whole, tmp_path, milliseconds):
    output = tmp_path / 'output'
    process = start(output, data=photographs)
    wait_until((output / 'unfinished').exists, process)
    signal.sigtimedwait([], milliseconds / 1000)
    process.kill()
    process.communicate()
    if (output / 'unfinished').exists():
        run(output, data=photographs)
    assert read_files(output) == whole


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_between_images_and_the_same_command_goes_on(
    photographs, whole, tmp_path, number
):
    output = tmp_path / 'output'
    process = start(output, data=photographs)
    wait_until(lambda: num_written(output) >= 2, process)
    process.send_signal(number)
    printed = finish(process, 128 + number)
    assert 'the same command continues' in printed
    assert 'Traceback' not in printed
    assert num_written(output) < 14
    run(output, data=photographs)
    assert read_files(output) == whole


def test_a_second_command_at_the_same_time_is_refused(photographs, whole, tmp_path):
    output = tmp_path / 'output'
    first = start(output, data=photographs)
    wait_until(lambda: num_written(output) >= 2, first)
    first.send_signal(signal.SIGSTOP)
    before = read_files(output)
    try:
        printed = run(output, data=photographs, status=2)
        assert read_files(output) == before
    finally:
        first.send_signal(signal.SIGCONT)
    assert 'expected a folder that no other process uses' in printed
    finish(first)
    assert read_files(output) == whole


def test_bad_input_ends_with_status_2(photographs, tmp_path):
    (tmp_path / 'file').write_text('precious')
    (tmp_path / 'used').mkdir()
    (tmp_path / 'used' / 'file').write_text('precious')
    for output, words in {'file': 'a folder to write into', 'used': 'new or empty folder'}.items():
        assert words in run(tmp_path / output, data=photographs, status=2)
    flags = {
        '--quality=0': 'quality',
        '--config.data.name=A B': 'config.data.name',
        'further': 'flags only',
    }
    for flag, words in flags.items():
        printed = run(tmp_path / 'new', flag, data=photographs, status=2)
        assert printed.startswith('error: ')
        assert words in printed
    assert not (tmp_path / 'new').exists()


def test_a_folder_that_cannot_be_written_is_refused(photographs, tmp_path):
    output = tmp_path / 'output'
    with mounted(output, '-t', 'tmpfs', '-o', 'ro', 'tmpfs') as is_mounted:
        if not is_mounted:
            pytest.skip('mounting is not possible here')
        printed = run(output, data=photographs, status=2)
        assert f'--output={output}: expected a folder to write into, found: Read-only' in printed


def test_a_full_disk_is_an_error_and_the_preparation_continues_after_freeing_space(
    photographs, whole, tmp_path
):
    disk = tmp_path / 'disk'
    output = disk / 'output'
    with mounted(disk, '-t', 'tmpfs', '-o', 'size=24m', 'tmpfs') as is_small:

        def fill_disk(process):
            if is_small:
                fill(disk)
            else:
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, 0))

        process = start(output, data=photographs)
        wait_until(lambda: num_written(output) >= 2, process)
        fill_disk(process)
        printed = finish(process, 1)
        assert 'Traceback' not in printed
        assert 'cannot be written: ' in printed
        assert ('No space left' if is_small else 'File too large') in printed
        assert 'free some space or repair the disk, and run the same command again' in printed
        kept = num_written(output)
        assert 2 <= kept < 14
        if is_small:
            printed = run(output, data=photographs, status=2)
            assert 'iB of free space, found' in printed
            (disk / 'filler').unlink()
        assert num_written(output) == kept
        run(output, data=photographs)
        assert read_files(output) == whole


@pytest.mark.parametrize('on_error', ['raise', 'skip'])
def test_a_bad_image_fails_or_is_left_out_by_flag(tmp_path, on_error):
    data = write_images(tmp_path / 'data', 60)
    bad = data / 'train' / 'c' / '00017.jpg'
    bad.write_bytes(b'no image')
    fault = 'it is not a JPEG, PNG, GIF, BMP or WebP image'
    flag = f'--config.data.on_error={on_error}'
    printed = run(tmp_path / 'new', flag, data=data, status=2 if on_error == 'raise' else 0)
    if on_error == 'raise':
        assert f'error: {bad}: cannot be decoded: {fault}' in printed
        printed = run(tmp_path / 'new', '--config.data.on_error=skip', data=data)
    assert ', 1 bad images left out (bad_images.csv)' in printed
    table = (tmp_path / 'new' / 'bad_images.csv').read_text()
    assert table == f'split,image,fault\ntrain,{bad},"{fault}"\n'


def test_digits_are_prepared_and_trained_from(tmp_path):
    run(tmp_path / 'set', '--size=8', '--encoding=raw', file_bytes=2**27)
    output = subprocess.run(
        [sys.executable, '-m', 'resnet_jax.main', f'--config={DIGITS}', '--config.num_epochs=1']
        + [f'--workdir={tmp_path}/run', '--config.data.source=tfds']
        + [f'--config.data.dir={tmp_path}/set', '--config.model.depth=8', '--config.model.width=4'],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert output.returncode == 0, output.stderr
    assert '1437 training examples, 10 classes' in output.stderr


def write_large_images(root, num_small, num_large):
    """Writes small JPEGs and, among them, some of 20 megapixels."""
    write_images(root, num_small)
    photo = PIL.Image.open(PHOTOS[0])
    large = photo.resize((5472, 3648))
    (root / 'large').mkdir()
    large.save(root / 'large' / 'one.jpg', quality=90)
    for number in range(num_large):
        path = root / 'train' / 'abc'[number % 3] / f'{number * 7:05}_large.jpg'
        os.link(root / 'large' / 'one.jpg', path)
    (root / 'large' / 'one.jpg').unlink()
    (root / 'large').rmdir()
    return root


def read_peak_memory(pid):
    """Returns a process's peak memory in MiB; `getrusage` also counts its parent's at the start."""
    status = Path(f'/proc/{pid}/status').read_text()
    match = re.search(r'VmHWM:\s+(\d+) kB', status)
    return int(match[1]) / 1024 if match else 0


@pytest.mark.parametrize(('encoding', 'shape'), [('jpeg', 'keep'), ('raw', 'square')])
def test_thousands_of_images_with_some_of_20_megapixels_take_less_than_a_gibibyte(
    tmp_path, encoding, shape
):
    data = write_large_images(tmp_path / 'data', 3000, 60)
    flags = [f'--config.data.dir={data}', '--config.data.source=folder', '--size=256']
    flags += ['--config.data.name=photographs', f'--encoding={encoding}', f'--shape={shape}']
    process = start(tmp_path / 'set', *flags, file_bytes=2**27)
    peak = 0
    while process.poll() is None:
        peak = max(peak, read_peak_memory(process.pid))
        time.sleep(0.05)
    assert process.returncode == 0
    assert 500 < peak < 1024
    config = prepared_config(folder_config(data), tmp_path / 'set')
    assert registry.load_source(config, 'train').num_examples == 3060
    [folder] = (tmp_path / 'set').glob('photographs/*')
    assert json.loads((folder / 'metadata.json').read_text())['num_examples']['train'] == 3060
    shapes = {np.shape(example['image']) for example in read_examples(config, 'validation')}
    assert shapes == ({(256, 256, 3)} if shape == 'square' else {(120, 160, 3)})
