"""Bad data: images that cannot be decoded, labels outside the classes, deleted files."""

import dataclasses
import io
import logging
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from support.running import DIGITS, finish, start, wait_until

from resnet_jax.checkpoints import reading
from resnet_jax.config import data_sets, schema
from resnet_jax.console.signals import StopRequest
from resnet_jax.console.terminal import Terminal
from resnet_jax.data import pipeline
from resnet_jax.data.sources import registry
from resnet_jax.devices.processes import Process
from resnet_jax.errors import InputError, RunFailed
from resnet_jax.run import Run
from resnet_jax.training import loop

NUM_EXAMPLES = 24
BAD = 7  # position of the bad image in stored order: a/07.jpg


def claim_size(width, height):
    """Returns a small PNG whose header claims a size."""

    def chunk(kind, content):
        checksum = zlib.crc32(kind + content)
        return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', checksum)

    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return (
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', header)
        + chunk(b'IDAT', zlib.compress(bytes(10_000)))
        + chunk(b'IEND', b'')
    )


def encode(kind):
    levels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    file = io.BytesIO()
    PIL.Image.fromarray(levels).save(file, kind)
    return file.getvalue()


BAD_IMAGES = {
    'truncated': (encode('JPEG')[:900], 'truncated or damaged'),
    'header': (encode('JPEG')[:15], 'its header is incomplete'),
    'truncated_png': (encode('PNG')[:200], 'truncated or damaged'),
    'empty': (b'', 'it is empty'),
    'text': (b'This is no image.\n', 'not a JPEG, PNG, GIF, BMP or WebP'),
    'truncated_webp': (encode('WEBP')[:200], 'truncated or damaged'),
    'truncated_gif': (encode('GIF')[:300], 'truncated or damaged'),
    'truncated_bmp': (encode('BMP')[:500], 'truncated or damaged'),
    'bomb': (claim_size(20_000, 20_000), '20000 x 20000 px'),
    'largest_bomb': (claim_size(2**32 - 1, 2**32 - 1), ''),
}
every_bad_image = pytest.mark.parametrize('name', BAD_IMAGES)


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
    """A folder with two classes of twelve JPEGs each, in both splits."""
    root = tmp_path_factory.mktemp('photographs')
    rng = np.random.default_rng(0)
    for split in ('train', 'validation'):
        for position in range(NUM_EXAMPLES):
            path = root / split / 'ab'[position // 12] / f'{position:02}.jpg'
            path.parent.mkdir(parents=True, exist_ok=True)
            levels = rng.integers(0, 256, (3, 3, 3), np.uint8)
            PIL.Image.fromarray(levels).resize((16, 16)).save(path)
    return root


@pytest.fixture
def data(photographs, tmp_path):
    return shutil.copytree(photographs, tmp_path / 'data')


def spoil(data, content, split='*', position=BAD):
    paths = list(data.glob(f'{split}/*/{position:02}.jpg'))
    for path in paths:
        path.write_bytes(content)
    return paths[0]


def make_config(data, **fields):
    config = data_sets.use_data(schema.get_config(), 'digits')
    config.update_from_flattened_dict(
        {
            'data.source': 'folder',
            'data.dir': str(data),
            'batch_size': 8,
            'num_epochs': 2,
            'model.depth': 8,
            'model.width': 4,
        }
        | {name.replace('__', '.'): value for name, value in fields.items()}
    )
    return config


def train_batches(data, **fields):
    config = make_config(data, **fields)
    source = registry.load_source(config, 'train')
    return list(pipeline.train_batches(source, config, start_step=0))


def evaluation_batches(data, **fields):
    config = make_config(data, **fields)
    source = registry.load_source(config, 'validation')
    return list(pipeline.evaluation_batches(source, config, batch_size=10))


def train(folder, data, **fields):
    loop.train(make_config(data, **fields), folder, Terminal(io.StringIO()), StopRequest())


@every_bad_image
@pytest.mark.parametrize(
    ('split', 'read'), [('train', train_batches), ('validation', evaluation_batches)]
)
def test_a_bad_image_is_an_error_with_its_path_and_the_reason(name, split, read, data):
    content, reason = BAD_IMAGES[name]
    spoil(data, content)
    with pytest.raises(InputError) as error:
        read(data)
    message = str(error.value)
    assert message.startswith(f'{data}/{split}/a/07.jpg: cannot be decoded: ')
    assert reason in message
    assert '--config.data.on_error=skip' in message


@every_bad_image
def test_a_skipped_image_keeps_its_slot_and_changes_no_other(name, photographs, data, caplog):
    path = spoil(data, BAD_IMAGES[name][0])
    clean = train_batches(photographs, num_epochs=3)
    with caplog.at_level(logging.WARNING, logger='absl'):
        batches = train_batches(data, num_epochs=3, data__on_error='skip')
    assert len(batches) == 9
    for batch, expected in zip(batches, clean, strict=True):
        good = expected['id'] != BAD
        np.testing.assert_array_equal(batch['id'], expected['id'])
        np.testing.assert_array_equal(batch['label'], expected['label'])
        np.testing.assert_array_equal(batch['mask'], good)
        np.testing.assert_array_equal(batch['image'][good], expected['image'][good])
        assert not batch['image'][~good].any()
    assert [text for text in caplog.messages if 'skipped' in text] == [
        f'{path.parents[2]}/train/a/07.jpg: cannot be decoded, and is skipped (1 so far)'
    ]


def test_every_skipped_image_is_named_once(data, caplog):
    paths = [spoil(data, b'', 'train', position) for position in (3, 14, 20)]
    with caplog.at_level(logging.WARNING, logger='absl'):
        batches = train_batches(
            data, num_epochs=4, data__on_error='skip', data__max_skipped_fraction=0.125
        )
    masked = np.concatenate([batch['id'][~batch['mask']] for batch in batches])
    assert sorted(masked) == sorted([3, 14, 20] * 4)
    logged = [text for text in caplog.messages if 'skipped' in text]
    assert sorted(text.partition(':')[0] for text in logged) == sorted(map(str, paths))
    assert [text[-10:] for text in logged] == ['(1 so far)', '(2 so far)', '(3 so far)']


def test_more_skipped_images_of_an_epoch_than_allowed_stop_the_run(data):
    bad = [str(spoil(data, b'', 'train', position)) for position in (3, 14, 20, 21)]
    limit = {'data__on_error': 'skip', 'data__max_skipped_fraction': 0.125}  # 3 of 24
    batches, source = [], registry.load_source(make_config(data, **limit), 'train')
    with pytest.raises(RunFailed) as failure:
        for batch in pipeline.train_batches(source, make_config(data, **limit), start_step=0):
            batches.append(batch)
    assert sum((~batch['mask']).sum() for batch in batches) <= 3
    message = str(failure.value)
    assert f'epoch 1, step {len(batches) + 1}: expected at most 0.125 of the 24 images' in message
    assert 'config.data.max_skipped_fraction), found 4 so far' in message
    assert sum(path in message for path in bad) == 3
    assert len(train_batches(data, **limit | {'data__max_skipped_fraction': 0.2})) == 6


def test_the_limit_counts_the_images_of_each_epoch_alone(data):
    for position in (3, 14):
        spoil(data, b'', 'train', position)
    limit = {'data__on_error': 'skip', 'data__max_skipped_fraction': 0.1}
    assert len(train_batches(data, num_epochs=5, **limit)) == 15


def test_each_process_counts_the_images_of_its_own_rows(data):
    for position in range(9):
        spoil(data, b'', 'train', position)
    fields = {'num_epochs': 1, 'batch_size': NUM_EXAMPLES, 'data__on_error': 'skip'}

    def read(process, limit):
        config = make_config(data, **fields, data__max_skipped_fraction=limit)
        source = registry.load_source(config, 'train')
        return list(pipeline.train_batches(source, config, start_step=0, process=process))

    [whole] = read(Process(0, 1), 1.0)
    num_bad = np.sum(~whole['mask'].reshape(2, 12), axis=1)
    few, many = map(int, np.argsort(num_bad))
    limit = (num_bad[few] + 0.5) / 12
    [part] = read(Process(few, 2), limit)
    assert (~part['mask']).sum() == num_bad[few] < num_bad[many]
    with pytest.raises(RunFailed, match='of the 12 images'):
        read(Process(many, 2), limit)


@pytest.mark.parametrize('fraction', [0.5, 1.0])
def test_a_run_whose_images_are_all_bad_fails(data, tmp_path, fraction):
    for position in range(NUM_EXAMPLES):
        spoil(data, b'', 'train', position)
    with pytest.raises(RunFailed, match='cannot be decoded: .*/train/.*Replace or delete'):
        train(tmp_path / 'run', data, data__on_error='skip', data__max_skipped_fraction=fraction)
    assert not reading.list_steps(tmp_path / 'run' / 'checkpoints')


def test_a_run_whose_validation_images_are_all_bad_fails(data, tmp_path):
    for position in range(NUM_EXAMPLES):
        spoil(data, b'', 'validation', position)
    fields = {'data__on_error': 'skip', 'data__max_skipped_fraction': 1.0, 'num_epochs': 1}
    with pytest.raises(RunFailed, match='evaluation of validation at step 3: .*/validation/a/00'):
        train(tmp_path / 'run', data, **fields)


@pytest.mark.parametrize('on_error', ['raise', 'skip'])
def test_a_png_with_the_suffix_jpg_is_decoded(on_error, data):
    levels = np.full((8, 8, 3), 77, np.uint8)
    file = io.BytesIO()
    PIL.Image.fromarray(levels).save(file, 'PNG')
    spoil(data, file.getvalue())
    batches = evaluation_batches(data, data__on_error=on_error)
    assert sum(batch['mask'].sum() for batch in batches) == NUM_EXAMPLES
    np.testing.assert_array_equal(batches[0]['image'][BAD], levels)
    config = {'data__on_error': on_error, 'data__augmentation': 'none', 'num_epochs': 1}
    [image] = [
        batch['image'][i]
        for batch in train_batches(data, **config)
        for i in np.flatnonzero(batch['id'] == BAD)
    ]
    np.testing.assert_array_equal(image, levels)


@pytest.mark.parametrize('on_error', ['raise', 'skip'])
@pytest.mark.parametrize('label', [-1, 2, 2**31 - 1])
def test_a_label_outside_the_classes_is_an_error_with_its_name(photographs, label, on_error):
    config = make_config(photographs, data__on_error=on_error)
    source = registry.load_source(config, 'train')

    def identify(element):
        example = source.identify(element)
        wrong = tf.where(example['id'] == BAD, label, example['label'])
        return example | {'label': wrong}

    wrong = dataclasses.replace(source, identify=identify, name=lambda i: f'record {i} of x')
    message = f'record {BAD} of x: expected a label from 0 to 1, found {label}'
    with pytest.raises(InputError, match=message):
        list(pipeline.train_batches(wrong, config, start_step=0))
    with pytest.raises(InputError, match=message):
        list(pipeline.evaluation_batches(wrong, config, batch_size=8))


@pytest.mark.parametrize('on_error', ['raise', 'skip'])
def test_a_deleted_file_is_an_error_with_its_path(on_error, data):
    config = make_config(data, data__on_error=on_error, num_epochs=40)
    source = registry.load_source(config, 'train')
    batches = pipeline.train_batches(source, config, start_step=0)
    next(batches)
    (data / 'train' / 'a' / '07.jpg').unlink()
    with pytest.raises((InputError, RunFailed), match='train/a/07.jpg'):
        list(batches)


@pytest.fixture(scope='module')
def skipping_run(photographs, tmp_path_factory):
    """A run of six steps that skips three bad images of its training data."""
    root = tmp_path_factory.mktemp('skipping')
    data = shutil.copytree(photographs, root / 'data')
    for position in (3, 14, 20):
        spoil(data, b'', 'train', position)
    fields = {'data__on_error': 'skip', 'data__max_skipped_fraction': 0.125}
    train(root / 'run', data, evaluate_every_epochs=2, **fields)
    return root / 'run'


def test_training_metrics_are_means_over_the_decoded_images(skipping_run):
    sums = reading.read_metadata(skipping_run / 'checkpoints', 3).train_sums
    assert {name: count for name, (_, count) in sums.items()} == {
        'loss': 21.0, 'top1': 21.0, 'top5': 21.0
    }  # fmt: skip
    [row] = Run(skipping_run).workdir.read_metrics()
    hits = float(row['train_top1']) * 42
    assert hits == pytest.approx(round(hits), abs=1e-9)


def test_evaluation_counts_a_bad_image_as_wrong_and_leaves_it_out_of_other_metrics(
    skipping_run, data, caplog
):
    whole = Run(skipping_run).evaluate()
    assert (whole.num_examples, whole.num_errors, whole.top5) == (NUM_EXAMPLES, 0, 1.0)
    path = data / 'validation' / 'a' / '07.jpg'

    def evaluate():
        run = Run(skipping_run)
        run.config.data.dir = str(data)
        return run.evaluate(batch_size=10)

    path.write_bytes(b'')
    with caplog.at_level(logging.WARNING, logger='absl'):
        with_bad = evaluate()
    listed = [text for text in caplog.messages if 'cannot be decoded' in text]
    assert [text.partition(':')[0] for text in listed] == [str(path)]
    path.unlink()
    without = evaluate()
    assert (with_bad.num_examples, with_bad.num_errors) == (NUM_EXAMPLES, 1)
    assert (without.num_examples, without.num_errors) == (NUM_EXAMPLES - 1, 0)
    assert with_bad.loss == without.loss
    np.testing.assert_array_equal(with_bad.confusion, without.confusion)
    assert with_bad.top5 == (NUM_EXAMPLES - 1) / NUM_EXAMPLES
    assert round(with_bad.top1 * NUM_EXAMPLES) == round(without.top1 * (NUM_EXAMPLES - 1))


MEASURE = """
import resource, sys
from resnet_jax.data import preprocessing
from resnet_jax.errors import InputError
from resnet_jax.config import data_sets, schema
config = data_sets.use_data(schema.get_config(), 'digits')
read = preprocessing.make_image_reader(config)
read(open(sys.argv[1], 'rb').read())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read(open(sys.argv[2], 'rb').read())
except InputError as error:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, error)
"""


@pytest.mark.slow
def test_a_bomb_takes_no_memory(tmp_path, photographs):
    levels = zlib.compressobj()
    rows = b''.join(levels.compress(bytes(60_001)) for _ in range(20_000)) + levels.flush()
    bomb = claim_size(20_000, 20_000).replace(zlib.compress(bytes(10_000)), rows)
    assert len(bomb) < 3_000_000
    (tmp_path / 'bomb.png').write_bytes(bomb)
    good = photographs / 'train' / 'a' / '00.jpg'
    command = [sys.executable, '-c', MEASURE, good, tmp_path / 'bomb.png']
    root = Path(__file__).parents[2]
    output = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    kilobytes, _, message = output.partition(' ')
    assert '20000 x 20000 px' in message
    assert int(kilobytes) < 200_000


@pytest.mark.slow
def test_the_command_names_a_deleted_file(data, tmp_path):
    fields = {
        'data.source': 'folder',
        'data.dir': data,
        'batch_size': 8,
        'num_epochs': 2000,
        'model.depth': 8,
        'model.width': 4,
    }
    flags = [f'--config.{name}={value}' for name, value in fields.items()]
    process = start(DIGITS, tmp_path / 'run', *flags)
    wait_until((tmp_path / 'run' / 'checkpoints' / '3').exists, process)
    (data / 'train' / 'b' / '15.jpg').unlink()
    output = finish(process, 1)
    assert f'{data}/train/b/15.jpg' in output
    assert 'Traceback' not in output
