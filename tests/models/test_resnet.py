"""ResNet: numbers of parameters, names, computed function and initial weights."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from jax import lax

from resnet_jax.config import schema
from resnet_jax.models import initialization, resnet

# Learnable parameters with 1000 classes, without the three shifts of mxnet's input norm.
IMAGENET = [
    (18, 'timm', 11_687_720),
    (34, 'timm', 21_795_880),
    (50, 'timm', 25_549_352),
    (101, 'timm', 44_541_480),
    (152, 'timm', 60_185_128),
    (200, 'timm', 64_666_152),
    (269, 'timm', 102_065_704),
    (18, 'mxnet', 11_691_944),
    (34, 'mxnet', 21_800_104),
    (50, 'mxnet', 25_549_480),
    (101, 'mxnet', 44_541_608),
    (152, 'mxnet', 60_185_256),
    (200, 'mxnet', 64_666_280),
    (269, 'mxnet', 102_065_832),
]


def create(depth, variant='timm', stem='imagenet', width=64, num_classes=1000, **fields):
    config = schema.get_config()
    config.model.depth = depth
    config.model.variant = variant
    config.model.stem = stem
    config.model.width = width
    config.model.dtype = 'float32'
    config.data.mean, config.data.std = (100.0, 110.0, 120.0), (50.0, 60.0, 70.0)
    config.model.update(fields)
    return resnet.create_model(config, num_classes)


@functools.cache
def flat_shapes(model, size=32, collection='params'):
    tree = initialization.abstract_variables(model, size)[collection]
    return {name: array.shape for name, array in traverse_util.flatten_dict(tree, sep='/').items()}


def count(shapes):
    return sum(math.prod(shape) for name, shape in shapes.items() if 'input_norm' not in name)


@pytest.mark.parametrize(('depth', 'variant', 'number'), IMAGENET)
def test_imagenet_networks_have_the_published_number_of_parameters(depth, variant, number):
    shapes = flat_shapes(create(depth, variant))
    assert count(shapes) == number
    assert shapes.get('input_norm/bias') == ((3,) if variant == 'mxnet' else None)
    assert 'input_norm/scale' not in shapes


# Keras's and timm's own counts.
@pytest.mark.parametrize(
    ('depth', 'variant', 'number'),
    [(50, 'keras', 25_568_360), (18, 'timm_d', 11_706_952), (50, 'timm_d', 25_568_584)],
)
def test_variants_of_other_frameworks_have_their_number_of_parameters(depth, variant, number):
    assert count(flat_shapes(create(depth, variant))) == number


@pytest.mark.parametrize(
    ('depth', 'variant', 'width', 'number'),
    [
        (164, 'timm', 16, 1_703_258),
        (1001, 'timm', 16, 10_327_706),
        # timm has projections between stages; mxnet has one in the first stage too.
        (110, 'timm', 16, 1_730_522),
        (110, 'mxnet', 16, 1_730_522 + 16 * 16),
    ],
)
def test_cifar_networks_have_the_published_number_of_parameters(depth, variant, width, number):
    model = create(depth, variant, stem='cifar', width=width, num_classes=10)
    assert count(flat_shapes(model)) == number


@pytest.mark.parametrize(
    ('depth', 'blocks', 'bottleneck'),
    [
        (8, 1, False),
        (20, 3, False),
        (32, 5, False),
        (44, 7, False),
        (56, 9, False),
        (110, 18, False),
        (11, 1, True),
        (164, 18, True),
        (1001, 111, True),
    ],
)
def test_cifar_depths_have_three_equal_stages(depth, blocks, bottleneck):
    model = create(depth, stem='cifar')
    assert (model.blocks, model.bottleneck) == ((blocks,) * 3, bottleneck)


BASIC_TIMM = """
stem/conv/kernel 3 3 3 4
stage1_block1/norm1/scale 4
stage1_block1/norm1/bias 4
stage1_block1/conv1/kernel 3 3 4 4
stage1_block1/norm2/scale 4
stage1_block1/norm2/bias 4
stage1_block1/conv2/kernel 3 3 4 4
stage2_block1/norm1/scale 4
stage2_block1/norm1/bias 4
stage2_block1/projection/kernel 1 1 4 8
stage2_block1/conv1/kernel 3 3 4 8
stage2_block1/norm2/scale 8
stage2_block1/norm2/bias 8
stage2_block1/conv2/kernel 3 3 8 8
stage3_block1/norm1/scale 8
stage3_block1/norm1/bias 8
stage3_block1/projection/kernel 1 1 8 16
stage3_block1/conv1/kernel 3 3 8 16
stage3_block1/norm2/scale 16
stage3_block1/norm2/bias 16
stage3_block1/conv2/kernel 3 3 16 16
final_norm/scale 16
final_norm/bias 16
head/kernel 16 10
head/bias 10
"""


def parse(text):
    rows = (line.split() for line in text.strip().splitlines())
    return {name: tuple(map(int, sizes)) for name, *sizes in rows}


def test_names_of_a_basic_network():
    timm = create(8, 'timm', 'cifar', width=4, num_classes=10)
    assert flat_shapes(timm) == parse(BASIC_TIMM)
    mxnet = create(8, 'mxnet', 'cifar', width=4, num_classes=10)
    assert flat_shapes(mxnet) == parse(BASIC_TIMM) | {
        'input_norm/bias': (3,),
        'stage1_block1/projection/kernel': (1, 1, 4, 4),
    }


def test_names_of_a_bottleneck_network():
    shapes = flat_shapes(create(50, 'mxnet'))
    block = {
        name.removeprefix('stage2_block1/'): shape
        for name, shape in shapes.items()
        if name.startswith('stage2_block1/')
    }
    assert block == {
        'norm1/scale': (256,),
        'norm1/bias': (256,),
        'projection/kernel': (1, 1, 256, 512),
        'conv1/kernel': (1, 1, 256, 128),
        'norm2/scale': (128,),
        'norm2/bias': (128,),
        'conv2/kernel': (3, 3, 128, 128),
        'norm3/scale': (128,),
        'norm3/bias': (128,),
        'conv3/kernel': (1, 1, 128, 512),
    }
    assert shapes['stem/conv/kernel'] == (7, 7, 3, 64)
    assert shapes['stem/norm/scale'] == (64,)
    assert 'stage4_block3/conv3/kernel' in shapes
    assert 'stage4_block4/conv1/kernel' not in shapes
    assert shapes['head/kernel'] == (2048, 1000)
    assert 'stem/norm/scale' not in flat_shapes(create(50, 'timm'))


@pytest.mark.parametrize(
    ('depth', 'variant', 'stages'),
    [(18, 'timm', '234'), (18, 'mxnet', '1234'), (50, 'timm', '1234'), (50, 'mxnet', '1234')],
)
def test_where_shortcuts_are_projected(depth, variant, stages):
    names = {name for name in flat_shapes(create(depth, variant)) if 'projection' in name}
    assert names == {f'stage{stage}_block1/projection/kernel' for stage in stages}


@pytest.mark.parametrize(('depth', 'variant', '_'), IMAGENET)
def test_only_norms_and_the_head_have_biases(depth, variant, _):
    biased = {name.split('/')[-2] for name in flat_shapes(create(depth, variant)) if 'bias' in name}
    norms = {'norm1', 'norm2', 'final_norm', 'head'} | ({'norm3'} if depth >= 50 else set())
    assert biased == norms | ({'input_norm', 'norm'} if variant == 'mxnet' else set())


def test_statistics_are_named_as_the_norms():
    model = create(8, 'mxnet', 'cifar', width=4, num_classes=10)
    shapes = flat_shapes(model, collection='batch_stats')
    norms = {name.rsplit('/', 1)[0] for name in flat_shapes(model) if 'norm' in name}
    assert set(shapes) == {f'{norm}/{kind}' for norm in norms for kind in ('mean', 'var')}


# An independent implementation of the 2016 paper's figure 4(e) and of the variants.


def reference(params, stats, images, *, depth, variant, stem, mean, std):
    epsilon = 2e-5 if variant == 'mxnet' else 1e-5

    def norm(x, name):
        scale = params.get(f'{name}/scale', 1.0)
        normal = (x - stats[f'{name}/mean']) / jnp.sqrt(stats[f'{name}/var'] + epsilon)
        return normal * scale + params[f'{name}/bias']

    def conv(x, name, stride=1):
        kernel = params[f'{name}/kernel']
        pad = {1: 0, 3: 1, 7: 3}[kernel.shape[0]]
        return lax.conv_general_dilated(
            x.transpose(0, 3, 1, 2),
            kernel.transpose(3, 2, 0, 1),
            (stride, stride),
            ((pad, pad), (pad, pad)),
            precision='highest',
        ).transpose(0, 2, 3, 1)

    x = (images.astype(jnp.float32) - jnp.array(mean)) / jnp.array(std)
    if variant != 'timm':
        x = norm(x, 'input_norm')
    x = conv(x, 'stem/conv', 2 if stem == 'imagenet' else 1)
    if stem == 'imagenet':
        if variant in ('mxnet', 'gluoncv'):
            x = jnp.maximum(norm(x, 'stem/norm'), 0)
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-jnp.inf)
        size = (x.shape[1] - 1) // 2
        x = jnp.stack(
            [
                x[:, dy : dy + 2 * size : 2, dx : dx + 2 * size : 2]
                for dy in range(3)
                for dx in range(3)
            ]
        ).max(axis=0)
    bottleneck, blocks = {
        8: (False, (1, 1, 1)),
        11: (True, (1, 1, 1)),
        14: (False, (2, 2, 2)),
    }[depth]
    for stage, num_blocks in enumerate(blocks, 1):
        for block in range(1, num_blocks + 1):
            name = f'stage{stage}_block{block}'
            stride = 2 if stage > 1 and block == 1 else 1
            pre = jnp.maximum(norm(x, f'{name}/norm1'), 0)
            projected = block == 1 and (stage > 1 or bottleneck or variant == 'mxnet')
            projection_input = x if variant == 'gluoncv_cifar' else pre
            shortcut = conv(projection_input, f'{name}/projection', stride) if projected else x
            if bottleneck:
                y = jnp.maximum(norm(conv(pre, f'{name}/conv1'), f'{name}/norm2'), 0)
                y = jnp.maximum(norm(conv(y, f'{name}/conv2', stride), f'{name}/norm3'), 0)
                y = conv(y, f'{name}/conv3')
            else:
                y = jnp.maximum(norm(conv(pre, f'{name}/conv1', stride), f'{name}/norm2'), 0)
                y = conv(y, f'{name}/conv2')
            x = shortcut + y
    x = jnp.maximum(norm(x, 'final_norm'), 0).mean(axis=(1, 2))
    return x @ params['head/kernel'] + params['head/bias']


def random_variables(model, size):
    """Draws every array, also statistics and biases, so that a test notices if one is not used."""
    rng = np.random.default_rng(0)

    def draw(path, array):
        if path[-1] == 'kernel':
            return rng.normal(0, math.prod(array.shape[:-1]) ** -0.5, array.shape).astype('f')
        low, high = (0.5, 1.5) if path[-1] in ('scale', 'var') else (-0.5, 0.5)
        return rng.uniform(low, high, array.shape).astype('f')

    return traverse_util.path_aware_map(draw, initialization.abstract_variables(model, size))


def random_images(size):
    noise = np.random.default_rng(1).uniform(0, 256, (3, size, size, 3))
    return np.uint8(noise * np.reshape([0.3, 0.6, 1.0], (3, 1, 1, 1)))


@pytest.mark.parametrize('variant', ['mxnet', 'timm', 'gluoncv', 'gluoncv_cifar'])
@pytest.mark.parametrize(
    ('depth', 'stem', 'size'),
    [(14, 'cifar', 12), (11, 'cifar', 9), (8, 'imagenet', 45), (11, 'imagenet', 64)],
)
def test_logits_equal_those_of_an_independent_implementation(depth, stem, size, variant):
    model = create(depth, variant, stem, width=4, num_classes=7)
    variables, images = random_variables(model, size), random_images(size)
    logits = jax.jit(functools.partial(model.apply, train=False))(variables, images)
    flat = [traverse_util.flatten_dict(variables[k], sep='/') for k in ('params', 'batch_stats')]
    expected = jax.jit(
        functools.partial(
            reference, depth=depth, variant=variant, stem=stem, mean=model.mean, std=model.std
        )
    )(*flat, images)
    assert logits.shape == (3, 7)
    rounding = 1e-5 * np.abs(expected).max()
    assert np.ptp(expected, axis=0).max() > 1000 * rounding
    np.testing.assert_allclose(logits, expected, rtol=0, atol=rounding)


def test_bfloat16_logits_are_near_float32_and_arrays_stay_float32():
    variables, images = None, random_images(12)
    outputs = {}
    for dtype in ('float32', 'bfloat16'):
        model = create(8, 'mxnet', 'cifar', width=4, num_classes=7, dtype=dtype)
        variables = variables or random_variables(model, 12)
        abstract = initialization.abstract_variables(model, 12)
        assert {array.dtype for array in jax.tree.leaves(abstract)} == {np.dtype('float32')}
        apply = functools.partial(model.apply, train=True, mutable='batch_stats')
        outputs[dtype] = jax.jit(apply)(variables, images)
    assert {array.dtype for array in jax.tree.leaves(outputs)} == {np.dtype('float32')}
    exact, rough = outputs['float32'][0], outputs['bfloat16'][0]
    error = np.abs(rough - exact).max() / np.ptp(exact)
    assert 1e-5 < error < 0.05  # bfloat16 has 8 bits: 2**-9 a layer, and a dozen layers


def test_images_are_normalised_by_mean_and_standard_deviation():
    model = create(8, 'timm', 'cifar', width=4, num_classes=7)
    variables, images = random_variables(model, 8), random_images(8)
    _, state = model.apply(variables, images, train=False, capture_intermediates=True)
    [stem] = state['intermediates']['stem']['conv']['__call__']
    x = (images.astype('f') - (100, 110, 120)) / np.array([50, 60, 70], 'f')
    kernel = variables['params']['stem']['conv']['kernel']
    expected = np.einsum('nhwij,hwijo->no', x[:, 2:5, 2:5, :, None], kernel[:, :, :, None])
    np.testing.assert_allclose(stem[:, 3, 3], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(('variant', 'epsilon'), [('mxnet', 2e-5), ('timm', 1e-5)])
def test_the_epsilon_of_batch_norm_is_the_variant_s_unless_given(variant, epsilon):
    assert create(18, variant).batch_norm_epsilon == epsilon
    assert create(18, variant, batch_norm_epsilon=1e-3).batch_norm_epsilon == 1e-3


def test_the_momentum_of_batch_norm_is_the_share_that_is_kept():
    model = create(8, 'mxnet', 'cifar', width=4, num_classes=7, batch_norm_momentum=0.75)
    images = random_images(8)
    variables = random_variables(model, 8)
    _, updates = model.apply(variables, images, train=True, mutable='batch_stats')
    x = (images.astype('f') - model.mean) / np.array(model.std)
    for kind, value in (('mean', x.mean((0, 1, 2))), ('var', x.var((0, 1, 2)))):
        before = variables['batch_stats']['input_norm'][kind]
        after = updates['batch_stats']['input_norm'][kind]
        np.testing.assert_allclose(after, 0.75 * before + 0.25 * value, rtol=1e-5)


def init(seed=0, kernel_init='he_fan_out', depth=18, width=64):
    model = create(depth, 'mxnet', width=width)
    variables = initialization.init_variables(model, 32, seed=seed, kernel_init=kernel_init)
    return traverse_util.flatten_dict(variables, sep='/')


@pytest.mark.parametrize(
    ('kernel_init', 'strided', 'head', 'limit'),
    [
        ('he_fan_out', 2 / (9 * 128), 0.01**2, None),
        ('he_fan_in', 2 / (9 * 64), 0.01**2, None),
        ('mxnet_2016', 2 / (3 * 9 * 64), 2 / (3 * 512), math.sqrt(2 / (9 * 64))),
    ],
)
def test_kernels_have_the_variance_of_their_initialisation(kernel_init, strided, head, limit):
    arrays = init(kernel_init=kernel_init)
    kernel = arrays['params/stage2_block1/conv1/kernel']
    assert kernel.shape == (3, 3, 64, 128)
    # 73,728 and 512,000 draws: the variance of a sample is within 2 % by four deviations.
    assert kernel.var() == pytest.approx(strided, rel=0.025)
    assert arrays['params/head/kernel'].var() == pytest.approx(head, rel=0.01)
    assert abs(kernel.mean()) < 4 * math.sqrt(strided / kernel.size)
    if limit:
        assert 0.999 * limit < np.abs(kernel).max() <= limit
    else:
        assert np.abs(kernel).max() > 3.5 * math.sqrt(strided)


def test_initial_weights_are_a_function_of_seed_and_name():
    first, repeated, other_seed = init(width=4), init(width=4), init(seed=1, width=4)
    for name in first:
        np.testing.assert_array_equal(first[name], repeated[name])
    kernels = [name for name in first if name.endswith('kernel')]
    for name in kernels:
        assert not np.array_equal(first[name], other_seed[name])
    bits = {first[name].tobytes() for name in kernels}
    assert len(bits) == len(kernels) == 22


def test_initial_norms_are_the_identity():
    for name, array in init(width=4).items():
        kind = name.rsplit('/', 1)[1]
        assert array.dtype == np.float32
        if kind != 'kernel':
            assert (array == {'scale': 1, 'var': 1, 'bias': 0, 'mean': 0}[kind]).all()


@pytest.mark.parametrize(('depth', 'gmac'), [(18, 1.814), (34, 3.664), (50, 4.089), (101, 7.801)])
def test_multiplications_at_224_px(depth, gmac):
    model = create(depth)
    images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.uint8)
    apply = functools.partial(model.apply, train=False, capture_intermediates=True)
    outputs = jax.eval_shape(apply, initialization.abstract_variables(model, 224), images)[1]
    outputs = traverse_util.flatten_dict(outputs['intermediates'], sep='/')
    total = 0
    for name, shape in flat_shapes(model).items():
        if name.endswith('kernel'):
            [output] = outputs[name.replace('kernel', '__call__')]
            total += math.prod(output.shape[:-1]) * math.prod(shape)
    assert round(total / 1e9, 3) == gmac
