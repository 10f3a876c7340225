"""Training image sizes that change at the start of an epoch (`data.size_schedule`)."""

import io
import logging
import re
import signal

import jax
import numpy as np
import PIL.Image
import pytest
from support.preparing import StopAfter
from support.running import assert_same_state, read_rows

from resnet_jax.checkpoints import reading
from resnet_jax.config import checks, data_sets, schema, serialization
from resnet_jax.console.signals import StopRequest
from resnet_jax.console.terminal import Terminal
from resnet_jax.data import pipeline
from resnet_jax.data.epochs import compute_image_sizes
from resnet_jax.data.sources import registry
from resnet_jax.errors import InputError, Stopped
from resnet_jax.training import loop

SCHEDULE = ((0, 6), (1, 10), (3, 8))


def make_config(**fields):
    """Four epochs of five steps on digits, at 6, 10, 10 and 8 px."""
    config = data_sets.use_data(schema.get_config(), 'digits')
    config.update_from_flattened_dict(
        {
            'num_epochs': 4,
            'batch_size': 256,
            'model.depth': 8,
            'model.width': 4,
            'data.augmentation': 'crop_mirror',
            'data.resize_size': 9,
            'data.size_schedule': SCHEDULE,
            'evaluate_every_epochs': 2,
            'keep_checkpoints': 0,
        }
        | fields
    )
    checks.validate(config)
    return config


@pytest.mark.parametrize(
    ('schedule', 'sizes'),
    [
        ((), [8] * 5),
        (((0, 6),), [6] * 5),
        (((2, 6),), [8, 8, 6, 6, 6]),
        (((0, 6), (1, 10), (3, 8)), [6, 10, 10, 8, 8]),
        (((4, 6),), [8, 8, 8, 8, 6]),
        (((1, 6), (5, 7), (90, 9)), [8, 6, 6, 6, 6]),
    ],
)
def test_a_size_holds_from_its_epoch_to_the_next_one(schedule, sizes):
    config = make_config(**{'num_epochs': 5, 'data.size_schedule': schedule})
    assert compute_image_sizes(config) == sizes


@pytest.mark.parametrize(
    ('schedule', 'allowed'),
    [
        ((3,), 'a tuple of pairs'),
        ((0, 128), 'a tuple of pairs'),
        (((0, 6, 7),), 'a tuple of pairs'),
        (((0, 6.0),), 'a tuple of pairs'),
        (((0.5, 6),), 'a tuple of pairs'),
        (((0, True),), 'a tuple of pairs'),
        ((('0', '6'),), 'a tuple of pairs'),
        (('06',), 'a tuple of pairs'),
        ((None,), 'a tuple of pairs'),
        (((-1, 6),), 'strictly increasing epochs of at least 0'),
        (((2, 6), (1, 8)), 'strictly increasing epochs of at least 0'),
        (((1, 6), (1, 8)), 'strictly increasing epochs of at least 0'),
        (((0, 0),), 'sizes of at least 1 px'),
        (((0, 6), (1, -8)), 'sizes of at least 1 px'),
    ],
)
def test_an_invalid_schedule_is_refused(schedule, allowed):
    with pytest.raises(InputError, match=r'config\.data\.size_schedule = ') as refusal:
        make_config(**{'data.size_schedule': schedule})
    assert allowed in str(refusal.value)


@pytest.mark.parametrize('augmentation', ['shift', 'pad_crop', 'none'])
def test_augmentations_without_a_resize_refuse_a_schedule(augmentation):
    with pytest.raises(InputError, match='random_resized_crop or crop_mirror'):
        make_config(**{'data.augmentation': augmentation})
    make_config(**{'data.augmentation': augmentation, 'data.size_schedule': ()})


def test_a_schedule_is_saved_with_the_config():
    config = make_config()
    assert serialization.from_json(serialization.to_json(config), where='x') == config


def batches_of(start_step=0, **fields):
    config = make_config(**fields)
    source = registry.load_source(config, 'train')
    return list(pipeline.train_batches(source, config, start_step=start_step))


@pytest.fixture(scope='module')
def batches():
    return batches_of()


def test_every_batch_of_an_epoch_has_its_size(batches):
    assert [batch['image'].shape for batch in batches] == [
        (256, size, size, 3) for size in (6, 10, 10, 8) for _ in range(5)
    ]


@pytest.mark.parametrize('start_step', [4, 5, 15])
def test_batches_from_any_step_on_are_the_same(batches, start_step):
    tail = batches_of(start_step)
    assert len(tail) == 20 - start_step
    for batch, expected in zip(tail, batches[start_step:], strict=True):
        assert all(np.array_equal(batch[key], expected[key]) for key in expected)


def test_sizes_change_neither_the_order_nor_the_images_of_other_epochs(batches):
    plain = batches_of(**{'data.size_schedule': ()})
    for step, (batch, expected) in enumerate(zip(batches, plain, strict=True)):
        for key in ('id', 'label', 'mask'):
            assert np.array_equal(batch[key], expected[key])
        if step >= 15:  # 8 px again
            assert np.array_equal(batch['image'], expected['image'])


def test_skipped_images_are_blank_at_every_size(tmp_path):
    for number in range(8):
        path = tmp_path / 'train' / 'ab'[number % 2] / f'{number}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.new('RGB', (12, 12), (200, 100, 50)).save(path)
    path.write_bytes(b'no image')
    data = {'source': 'folder', 'dir': str(tmp_path)}
    data |= {'on_error': 'skip', 'max_skipped_fraction': 0.2}
    fields = {f'data.{name}': value for name, value in data.items()}
    batches = batches_of(batch_size=8, **fields)
    assert [batch['image'].shape[1] for batch in batches] == [6, 10, 10, 8]
    for batch in batches:
        assert batch['mask'].sum() == 7
        assert (batch['image'][batch['mask']] == (200, 100, 50)).all()
        assert not batch['image'][~batch['mask']].any()


def train(folder, request=None, **fields):
    config = make_config(**fields)
    loop.train(config, folder, Terminal(io.StringIO()), request or StopRequest())


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """The folder of an uninterrupted run, and the messages that JAX logs about compilation."""
    folder, messages = tmp_path_factory.mktemp('whole') / 'run', []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logger = logging.getLogger('jax')
    logger.addHandler(handler)
    try:
        with jax.log_compiles():
            train(folder)
    finally:
        logger.removeHandler(handler)
    return folder, messages


@pytest.mark.slow
def test_each_size_is_compiled_once(whole):
    # A training step gets the state, whose first array is the step, and images.
    step = r'Compiling .*\(ShapedArray\(int32\[\]\), .*ShapedArray\(uint8\[4,64,(\d+),\1,3\]\)'
    compiled = [match[1] for match in (re.match(step, text) for text in whole[1]) if match]
    assert compiled == ['6', '10', '8']


@pytest.mark.slow
@pytest.mark.parametrize('steps', [4, 5, 8])
def test_a_run_continued_at_any_size_equals_an_uninterrupted_run(whole, tmp_path, steps):
    folder = tmp_path / 'run'
    with pytest.raises(Stopped):
        train(folder, StopAfter(steps, signal.SIGTERM))
    [*_, last] = reading.list_steps(folder / 'checkpoints')
    assert abs(last - steps) <= 2
    train(folder)
    assert read_rows(folder) == read_rows(whole[0])
    assert_same_state(folder, whole[0], 20)


@pytest.mark.slow
def test_a_run_cannot_continue_with_another_schedule(whole):
    with pytest.raises(InputError, match='size_schedule'):
        train(whole[0], **{'data.size_schedule': ((0, 6),)})
