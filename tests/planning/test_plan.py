"""`plan`: published counts, steps, rates, memory, printed text and refused input."""

import io
import json
import re
import runpy
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
from jax import lax
from support.running import ROOT

from resnet_jax.config import checks
from resnet_jax.config.ranges import RANGES
from resnet_jax.console import text_plot
from resnet_jax.data.sources import registry
from resnet_jax.devices import backend, parallel
from resnet_jax.errors import InputError
from resnet_jax.models import initialization, resnet
from resnet_jax.planning import plan
from resnet_jax.planning.macs import count_macs, count_macs_of_jaxpr
from resnet_jax.planning.text import format_plan
from resnet_jax.training import optimizers, schedules
from resnet_jax.training.state import abstract_state, create_state
from resnet_jax.training.train_step import make_train_step

PUBLISHED = [  # depth, parameters of both variants, GMAC at 224 px of timm's
    (18, 11_687_720, 11_691_944, '1.814'),
    (34, 21_795_880, 21_800_104, '3.664'),
    (50, 25_549_352, 25_549_480, '4.089'),
    (101, 44_541_480, 44_541_608, '7.801'),
    (152, 60_185_128, 60_185_256, '11.514'),
    (200, 64_666_152, 64_666_280, '15.007'),
    (269, 102_065_704, 102_065_832, '20.030'),
]


def load_config(name, data=None):
    get_config = runpy.run_path(str(ROOT / 'configs' / f'{name}.py'))['get_config']
    return get_config(data) if data else get_config()


@pytest.fixture
def without_compiling(monkeypatch):
    monkeypatch.setattr(plan, '_measure_activations', lambda *_: 2**30)


@pytest.mark.parametrize(('depth', 'timm', 'mxnet', 'gmac'), PUBLISHED)
def test_parameters_and_macs_are_the_published_ones(depth, timm, mxnet, gmac, without_compiling):
    config = load_config(f'resnet{depth}')
    config.model.variant = 'timm'
    run_plan = plan.make_plan(config)
    assert (run_plan.num_parameters, run_plan.num_input_norm_parameters) == (timm, 0)
    assert f'{run_plan.macs_per_image / 1e9:.3f}' == gmac


@pytest.mark.parametrize(('depth', 'timm', 'mxnet', 'gmac'), PUBLISHED[:3])
def test_the_batch_norm_of_the_image_is_counted_separately(
    depth, timm, mxnet, gmac, without_compiling
):
    run_plan = plan.make_plan(load_config(f'resnet{depth}'))
    assert (run_plan.num_parameters, run_plan.num_input_norm_parameters) == (mxnet, 3)
    projection = (
        64 * 64 * 56 * 56 if depth < 50 else 0
    )  # in the first block, only in the variant mxnet
    assert f'{(run_plan.macs_per_image - projection) / 1e9:.3f}' == gmac


def test_macs_follow_the_shapes():
    def trace(function, *shapes):
        arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
        return count_macs_of_jaxpr(jax.make_jaxpr(function)(*arrays).jaxpr)

    def convolve(x, kernel, stride=1, groups=1):
        return lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            'SAME',
            dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
            feature_group_count=groups,
        )

    image, kernel = (2, 8, 6, 4), (3, 3, 4, 10)
    once = 2 * 8 * 6 * 10 * 9 * 4
    assert trace(convolve, image, kernel) == once
    assert trace(jax.jit(lambda x, k: convolve(x, k, 2)), image, kernel) == once // 4
    assert trace(lambda x, k: convolve(x, k, groups=2), image, (3, 3, 2, 10)) == once // 2
    assert trace(jnp.matmul, (5, 7), (7, 3)) == 5 * 7 * 3
    assert trace(jnp.matmul, (4, 5, 7), (4, 7, 3)) == 4 * 5 * 7 * 3

    def branch(x, y):
        return lax.cond(x[0, 0] > 0, lambda: x @ y, lambda: jnp.zeros((7, 7)) @ (x @ y))

    assert trace(branch, (7, 7), (7, 7)) == 2 * 7**3
    assert trace(
        lambda x, y: lax.scan(lambda c, _: (c @ y, None), x, None, 11)[0], *[(7, 7)] * 2
    ) == (11 * 7**3)


def test_small_maps_cost_the_same_whichever_platform_computes_them():
    config = load_config('resnet18', 'digits')
    config.model.width = 64
    model = resnet.create_model(config, 10)
    stem = 8 * 8 * 9 * 3 * 64
    sizes = {64: 8, 128: 4, 256: 2, 512: 1}
    stages = sum(4 * size**2 * 9 * channels**2 for channels, size in sizes.items())
    halved = [(64, 128, 4), (128, 256, 2), (256, 512, 1)]
    smaller = sum(
        size**2 * 9 * (channels**2 - before * channels) for before, channels, size in halved
    )
    projections = 64 * 64 * 64 + sum(size**2 * a * b for a, b, size in halved)
    assert count_macs(model, 8) == stem + stages - smaller + projections + 512 * 10


@pytest.mark.parametrize(
    'name',
    [
        pytest.param(path.stem, marks=[pytest.mark.slow] * ('1001' in path.stem))
        for path in sorted((ROOT / 'configs').glob('[!_]*.py'))
        if path.stem != 'folder'  # its data must be read
    ],
)
def test_every_config_has_a_plan(name, without_compiling):
    config = load_config(name)
    run_plan = plan.make_plan(config, images_per_second=1000.0)
    steps = 1_281_167 // config.batch_size if 'cifar' not in name else 390
    assert (run_plan.steps_per_epoch, run_plan.num_steps) == (steps, steps * config.num_epochs)
    assert len(run_plan.learning_rates) == config.num_epochs
    images = run_plan.num_steps * config.batch_size
    assert run_plan.training_flops == 6 * run_plan.macs_per_image * images
    assert run_plan.hours == pytest.approx(images / 1000 / 3600)
    text = format_plan(run_plan, config)
    assert f'{run_plan.num_parameters:,}' in text
    assert text.isascii()


def test_the_rates_are_those_of_training(tiny_config, without_compiling):
    tiny_config.num_epochs = 7
    tiny_config.schedule.boundaries_epochs = (3, 5.5)
    run_plan = plan.make_plan(tiny_config)
    schedule = jax.jit(schedules.make_schedule(tiny_config, 11))  # jitted, as in a step
    assert run_plan.steps_per_epoch == 11
    assert run_plan.learning_rates == tuple(float(schedule(epoch * 11)) for epoch in range(7))
    assert len(set(run_plan.learning_rates)) > 3


def test_the_known_sizes_of_the_digits_are_those_of_the_data(tiny_config):
    num_classes, splits = plan.DATA_SIZES['digits']
    for split, number in splits.items():
        source = registry.load_source(tiny_config, split)
        assert (source.num_examples, len(source.class_names)) == (number, num_classes)


def test_the_checkpoint_is_as_large_as_the_state_that_is_saved(tiny_config, without_compiling):
    tiny_config.ema_decay = 0.9
    model = resnet.create_model(tiny_config, 10)
    variables = initialization.init_variables(model, 8, seed=0, kernel_init='he_fan_out')
    optimizer = optimizers.make_optimizer(tiny_config, schedules.make_schedule(tiny_config, 11))
    state = create_state(tiny_config, variables, optimizer)
    expected = sum(np.asarray(array).nbytes for array in jax.tree.leaves(state))
    assert plan.make_plan(tiny_config).checkpoint_bytes == expected


def test_activations_grow_with_the_share_of_a_device(tiny_config):
    by_devices = {
        number: plan.make_plan(tiny_config, num_devices=number).activation_bytes
        for number in (1, 4)
    }
    # Each image keeps at least the outputs of its convolutions, float32: stem, stages, projections.
    kept = 4 * (8 * 8 * 4 * 4 + 4 * 4 * 8 * 3 + 2 * 2 * 16 * 3)
    assert by_devices[4] > 32 * kept
    assert 2 < by_devices[1] / by_devices[4] < 6


def test_memory_is_the_same_without_llvms_optimisation(tiny_config):
    model = resnet.create_model(tiny_config, 10, axis_name=parallel.AXIS)
    optimizer = optimizers.make_optimizer(tiny_config, schedules.make_schedule(tiny_config, 11))
    p_step = parallel.p_map(
        make_train_step(tiny_config, model, optimizer), backend.start_one_cpu(), donate=True
    )
    state = abstract_state(tiny_config, model, optimizer)
    batch = {
        'image': jax.ShapeDtypeStruct((1, 32, 8, 8, 3), jnp.uint8),
        'label': jax.ShapeDtypeStruct((1, 32), jnp.int32),
        'mask': jax.ShapeDtypeStruct((1, 32), jnp.bool_),
    }
    optimised = p_step.lower(state, batch).compile().memory_analysis().temp_size_in_bytes
    assert plan._measure_activations(p_step, state, 32, 8) == optimised


def test_unknown_data_is_read_for_its_sizes(tmp_path, tiny_config, without_compiling):
    for split, number in (('train', 6), ('validation', 2)):
        for name in ('cat', 'dog', 'eel'):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for i in range(number):
                PIL.Image.new('RGB', (9, 9)).save(folder / f'{i}.png')
    tiny_config.data.source = 'folder'
    tiny_config.data.dir = str(tmp_path)
    tiny_config.batch_size = 4
    run_plan = plan.make_plan(tiny_config)
    assert (run_plan.num_classes, run_plan.num_train, run_plan.num_validation) == (3, 18, 6)
    assert (run_plan.steps_per_epoch, run_plan.num_steps) == (4, 8)


def test_unknown_data_that_is_missing_is_refused(tmp_path, tiny_config):
    tiny_config.data.source = 'folder'
    tiny_config.data.dir = str(tmp_path / 'missing')
    with pytest.raises(InputError, match='config.data.dir'):
        plan.make_plan(tiny_config)


def test_devices_that_cannot_share_a_batch_are_refused(tiny_config):
    with pytest.raises(InputError, match=r'multiple of 3 \(3 devices\)'):
        plan.make_plan(tiny_config, num_devices=3)


@pytest.mark.parametrize('speed', [0.0, -1.0, 1e-320, 1e300, float('nan'), float('inf')])
def test_a_speed_out_of_range_is_refused(tiny_config, speed):
    expected = re.escape(
        f'images_per_second = {speed}: expected at least 0.001 and at most 1,000,000,000'
    )
    with pytest.raises(InputError, match=expected):
        plan.make_plan(tiny_config, images_per_second=speed)


@pytest.mark.parametrize('number', [-1, 10**12])
def test_a_number_of_devices_out_of_range_is_refused(tiny_config, number):
    expected = f'num_devices = {number}: expected at least 0 and at most 1,000,000'
    with pytest.raises(InputError, match=expected):
        plan.make_plan(tiny_config, num_devices=number)


FIELDS_AT_BOTH_ENDS = (
    'seed',
    'num_epochs',
    'model.num_classes',
    'model.batch_norm_momentum',
    'model.batch_norm_epsilon',
    'optimizer.learning_rate',
    'optimizer.momentum',
    'optimizer.weight_decay',
    'optimizer.gradient_clip',
    'schedule.factor',
    'schedule.warmup_epochs',
    'label_smoothing',
    'ema_decay',
    'log_every_steps',
)


@pytest.mark.parametrize('end', [0, 1], ids=['smallest', 'largest'])
def test_a_config_at_the_ends_of_its_ranges_is_planned_and_has_finite_rates(tiny_config, end):
    tiny_config.model.width = (1, 4)[end]
    tiny_config.update_from_flattened_dict(
        {field: RANGES[field][end] for field in FIELDS_AT_BOTH_ENDS}
    )
    checks.validate(tiny_config)
    run_plan = plan.make_plan(tiny_config)
    assert run_plan.num_steps == (11, 1_100_000)[end]
    assert run_plan.num_classes == (10, 65_536)[end]
    assert np.isfinite(run_plan.learning_rates).all()
    assert min(run_plan.learning_rates) > 0
    format_plan(run_plan, tiny_config)


def test_a_plan_of_single_things_is_worded_in_the_singular(tiny_config, without_compiling):
    tiny_config.num_epochs, tiny_config.batch_size = 1, 1
    text = format_plan(plan.make_plan(tiny_config, num_devices=1), tiny_config)
    assert '1,437 an epoch of 1 image, 1,437 in 1 epoch' in text
    assert re.search(r'forward pass +55\.200 kMAC an image', text)
    assert '1.00 GiB on one device, with gradients, for 1 image,' in text
    assert re.search(r'checkpoint +\d+\.?\d* KiB before', text)
    assert '0.00' not in text


def test_numbers_are_drawn_as_text():
    assert text_plot.draw_steps([0.1] * 3 + [0.01] * 2 + [1e-3]) == [
        '  0.1 |***',
        *['      |'] * 4,
        '      |   **',
        *['      |'] * 3,
        '0.001 |     *',
        '      +------',
        '       1    6  (logarithmic)',
    ]
    assert text_plot.draw_steps([2.0]) == ['2 |*', '  +-', '   1']
    linear = text_plot.draw_steps([1.0, 5.5, 10.0])
    assert linear[0] == '10 |  *'
    assert linear[9] == ' 1 |*'
    assert linear[-1] == '    1 3'


def test_a_long_drawing_is_thinned_and_zeros_are_at_the_bottom():
    lines = text_plot.draw_steps([1.0] * 500 + [0.0] * 500)
    assert lines[0] == '1 |' + '*' * 30
    assert lines[-3] == '0 |' + ' ' * 30 + '*' * 30 or lines[0].count('*') == 30
    assert max(map(len, lines)) < 80


def test_runs_of_equal_numbers_are_listed():
    assert text_plot.list_runs([0.1, 0.1, 0.02]) == ['1-2: 0.1', '3: 0.02']
    many = text_plot.list_runs([i / 10 for i in range(100)])
    assert many[:2] == ['1: 0', '2: 0.1']
    assert many[6] == '...'
    assert many[-1] == '100: 9.9'
    assert len(many) == 13


def run(*arguments):
    return subprocess.run(
        [sys.executable, '-m', 'resnet_jax.plan', *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.slow
def test_the_command_prints_draws_and_ends_with_json(tmp_path):
    figure = tmp_path / 'rate.png'
    result = run(
        '--config=configs/resnet18.py:digits',
        '--config.model.depth=8',
        '--num_devices=2',
        '--images_per_second=100',
        f'--figure={figure}',
    )
    assert result.returncode == 0, result.stderr
    *_, line = result.stdout.splitlines()
    printed = json.loads(line)
    assert (printed['num_devices'], printed['num_steps']) == (2, 440)
    assert len(printed['learning_rates']) == 20
    assert printed['hours'] == pytest.approx(440 * 64 / 100 / 3600)
    assert 'compiler for CPUs' in result.stdout
    assert PIL.Image.open(io.BytesIO(figure.read_bytes())).size == (1200, 520)
    assert [path.name for path in tmp_path.iterdir()] == ['rate.png']


def test_help_exits_0():
    result = run('--help')
    assert result.returncode == 0
    assert '--images_per_second' in result.stdout


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        ([], '--config'),
        (['--config=configs/resnet18.py:digits', '--figure=rate.jpg'], '.png'),
        (['--config=configs/resnet18.py:digits', '--num_devices=-1'], 'num_devices'),
        (['--config=configs/resnet18.py:digits', '--images_per_second=x'], 'images_per_second'),
        (['--config=configs/resnet18.py:digits', '--images_per_second=1e-320'], 'at least 0.001'),
        (['--config=configs/resnet18.py:digits', 'stray'], "'stray'"),
    ],
)
def test_bad_input_is_refused_with_status_2(arguments, expected):
    result = run(*arguments)
    assert result.returncode == 2, result.stdout
    assert expected in result.stderr
    assert 'Traceback' not in result.stderr


@pytest.mark.slow
def test_resnet50_is_planned_without_its_data():
    result = run('--config=configs/resnet50.py', '--config.model.variant=timm', '--num_devices=4')
    assert result.returncode == 0, result.stderr
    printed = json.loads(result.stdout.splitlines()[-1])
    assert (printed['num_parameters'], printed['macs_per_image']) == (25_549_352, 4_089_184_256)
    assert 2**30 < printed['activation_bytes'] < 2**35
