"""Names of arrays in other frameworks: each array is matched, and differences are listed."""

import numpy as np
import pytest
import safetensors.numpy
from flax import traverse_util
from support import weight_files

from resnet_jax.config import data_sets, schema
from resnet_jax.errors import InputError
from resnet_jax.weights import importing, published, recognition

MXNET_LEAVES = {
    'norm': {'scale': '_gamma', 'bias': '_beta', 'mean': '_moving_mean', 'var': '_moving_var'},
    'other': {'kernel': '_weight', 'bias': '_bias'},
}
GLUON_EXPORT_LEAVES = {
    'norm': MXNET_LEAVES['norm'] | {'mean': '_running_mean', 'var': '_running_var'},
    'other': MXNET_LEAVES['other'],
}
GLUON_LEAVES = {
    kind: {leaf: '.' + name[1:] for leaf, name in leaves.items()}
    for kind, leaves in GLUON_EXPORT_LEAVES.items()
}
TIMM_LEAVES = {
    'norm': {'scale': '.weight', 'bias': '.bias', 'mean': '.running_mean', 'var': '.running_var'},
    'other': {'kernel': '.weight', 'bias': '.bias'},
}

SYMBOL_BOTTLENECKS = """
bn_data input_norm
conv0 stem/conv
bn0 stem/norm
stage1_unit1_bn1 stage1_block1/norm1
stage1_unit1_conv1 stage1_block1/conv1
stage1_unit1_bn2 stage1_block1/norm2
stage1_unit1_conv2 stage1_block1/conv2
stage1_unit1_bn3 stage1_block1/norm3
stage1_unit1_conv3 stage1_block1/conv3
stage1_unit1_sc stage1_block1/projection
stage2_unit1_bn1 stage2_block1/norm1
stage2_unit1_conv1 stage2_block1/conv1
stage2_unit1_bn2 stage2_block1/norm2
stage2_unit1_conv2 stage2_block1/conv2
stage2_unit1_bn3 stage2_block1/norm3
stage2_unit1_conv3 stage2_block1/conv3
stage2_unit1_sc stage2_block1/projection
stage3_unit1_bn1 stage3_block1/norm1
stage3_unit1_conv1 stage3_block1/conv1
stage3_unit1_bn2 stage3_block1/norm2
stage3_unit1_conv2 stage3_block1/conv2
stage3_unit1_bn3 stage3_block1/norm3
stage3_unit1_conv3 stage3_block1/conv3
stage3_unit1_sc stage3_block1/projection
bn1 final_norm
fc1 head
"""

GLUON_EXPORT = """
cifarresnetv20_batchnorm0 input_norm
cifarresnetv20_conv0 stem/conv
cifarresnetv20_stage1_batchnorm0 stage1_block1/norm1
cifarresnetv20_stage1_conv0 stage1_block1/conv1
cifarresnetv20_stage1_batchnorm1 stage1_block1/norm2
cifarresnetv20_stage1_conv1 stage1_block1/conv2
cifarresnetv20_stage1_batchnorm2 stage1_block2/norm1
cifarresnetv20_stage1_conv2 stage1_block2/conv1
cifarresnetv20_stage1_batchnorm3 stage1_block2/norm2
cifarresnetv20_stage1_conv3 stage1_block2/conv2
cifarresnetv20_stage2_batchnorm0 stage2_block1/norm1
cifarresnetv20_stage2_conv0 stage2_block1/conv1
cifarresnetv20_stage2_batchnorm1 stage2_block1/norm2
cifarresnetv20_stage2_conv1 stage2_block1/conv2
cifarresnetv20_stage2_conv2 stage2_block1/projection
cifarresnetv20_stage2_batchnorm2 stage2_block2/norm1
cifarresnetv20_stage2_conv3 stage2_block2/conv1
cifarresnetv20_stage2_batchnorm3 stage2_block2/norm2
cifarresnetv20_stage2_conv4 stage2_block2/conv2
cifarresnetv20_stage3_batchnorm0 stage3_block1/norm1
cifarresnetv20_stage3_conv0 stage3_block1/conv1
cifarresnetv20_stage3_batchnorm1 stage3_block1/norm2
cifarresnetv20_stage3_conv1 stage3_block1/conv2
cifarresnetv20_stage3_conv2 stage3_block1/projection
cifarresnetv20_stage3_batchnorm2 stage3_block2/norm1
cifarresnetv20_stage3_conv3 stage3_block2/conv1
cifarresnetv20_stage3_batchnorm3 stage3_block2/norm2
cifarresnetv20_stage3_conv4 stage3_block2/conv2
cifarresnetv20_batchnorm1 final_norm
cifarresnetv20_dense0 head
"""

BLOCK = {'bn1': 'norm1', 'conv1': 'conv1', 'bn2': 'norm2', 'conv2': 'conv2'}


def gluon_features(first, num_stages, outside):
    """Returns the names of save_parameters for stages of two basic blocks each."""
    lines = [outside]
    for stage in range(num_stages):
        for block in range(2):
            theirs = f'features.{first + stage}.{block}.'
            ours = f'stage{stage + 1}_block{block + 1}/'
            lines += [f'{theirs}{name} {ours}{part}' for name, part in BLOCK.items()]
            if stage and not block:
                lines.append(f'{theirs}downsample {ours}projection')
    return '\n'.join(lines)


GLUON_CIFAR = gluon_features(
    2,
    3,
    """features.0 input_norm
features.1 stem/conv
features.5 final_norm
output head""",
)
GLUON_IMAGENET = gluon_features(
    5,
    4,
    """features.0 input_norm
features.1 stem/conv
features.2 stem/norm
features.9 final_norm
output head""",
)


def name_arrays(variables, modules, leaves):
    """Returns the arrays of a framework with channels first, by its names."""
    pairs = (line.split() for line in modules.split('\n') if line)
    names = {ours: theirs for theirs, ours in pairs}
    named = {}
    for path, array in variables.items():
        module, leaf = '/'.join(path[1:-1]), path[-1]
        kind = 'norm' if 'norm' in module.split('/')[-1] else 'other'
        if leaf == 'kernel':
            array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
        named[names[module] + leaves[kind][leaf]] = np.ascontiguousarray(array)
    return named


def make(depth, variant, stem, modules, leaves):
    variables = weight_files.random_variables(weight_files.make_model(depth, variant, stem))
    return variables, name_arrays(variables, modules, leaves)


@pytest.mark.parametrize(
    ('depth', 'variant', 'stem', 'modules', 'leaves'),
    [
        (11, 'mxnet', 'imagenet', SYMBOL_BOTTLENECKS, MXNET_LEAVES),
        (11, 'mxnet', 'cifar', SYMBOL_BOTTLENECKS, MXNET_LEAVES),
        (14, 'gluoncv_cifar', 'cifar', GLUON_EXPORT, GLUON_EXPORT_LEAVES),
        (14, 'gluoncv_cifar', 'cifar', GLUON_CIFAR, GLUON_LEAVES),
        (18, 'gluoncv', 'imagenet', GLUON_IMAGENET, GLUON_LEAVES),
    ],
)
def test_every_array_of_mxnet_is_matched(depth, variant, stem, modules, leaves):
    variables, arrays = make(depth, variant, stem, modules, leaves)
    aux = tuple(leaves['norm'][leaf] for leaf in ('mean', 'var'))
    prefixed = {
        f'{"aux" if name.endswith(aux) else "arg"}:{name}': array for name, array in arrays.items()
    }
    if variant == 'mxnet':
        prefixed['arg:bn_data_gamma'] = np.full(3, 7, 'f4')  # which MXNet ignores and takes as 1
    imported = importing.load_weights('mxnet', weight_files.to_params(prefixed), where='a')
    model = imported.config.model
    assert (model.depth, model.variant, model.stem) == (depth, variant, stem)
    assert (model.width, model.num_classes) == (4, 5)
    imported_arrays = traverse_util.flatten_dict(imported.variables)
    assert imported_arrays.keys() == variables.keys()
    for path, array in variables.items():
        np.testing.assert_array_equal(imported_arrays[path], array, err_msg='/'.join(path))


@pytest.fixture
def arrays():
    """Arrays of an 11-layer network with MXNet's names."""
    return make(11, 'mxnet', 'imagenet', SYMBOL_BOTTLENECKS, MXNET_LEAVES)[1]


def load(arrays, config=None):
    return importing.load_weights('mxnet', weight_files.to_params(arrays), where='a', config=config)


def test_all_differences_are_listed_in_one_error(arrays):
    del arrays['stage2_unit1_bn2_beta'], arrays['fc1_bias']
    arrays['extra'] = np.zeros(2, 'f4')
    arrays['stage3_unit1_conv2_weight'] = np.zeros((1, 2, 3, 3), 'f4')
    with pytest.raises(InputError, match='most similar network is ResNet-11 v2') as error:
        load(arrays)
    assert str(error.value).splitlines()[1:] == [
        '  missing: fc1_bias, of shape (5,)',
        '  missing: stage2_unit1_bn2_beta, of shape (8,)',
        '  unexpected: extra, of shape (2,)',
        '  stage3_unit1_conv2_weight: expected the shape (16, 16, 3, 3), found (1, 2, 3, 3)',
    ]


def test_a_missing_stem_and_head_are_listed_too(arrays):
    del arrays['conv0_weight'], arrays['fc1_weight']
    with pytest.raises(InputError) as error:
        load(arrays)
    assert '  missing: conv0_weight, of shape (64, 3, 7, 7)' in str(error.value)
    assert '  missing: fc1_weight, of shape (1000, 1024)' in str(error.value)


def test_a_file_without_one_of_the_blocks_is_compared_with_the_nearest_network():
    _, arrays = make(18, 'gluoncv', 'imagenet', GLUON_IMAGENET, GLUON_LEAVES)
    arrays = {name: x for name, x in arrays.items() if not name.startswith('features.6.1.')}
    with pytest.raises(InputError, match='most similar network is ResNet-18 v2') as error:
        load(arrays)
    lines = str(error.value).splitlines()[1:]
    assert len(lines) == 10
    assert all(line.startswith('  missing: features.6.1.') for line in lines)


def test_a_config_of_another_network_is_refused_with_the_differences(arrays):
    config = schema.get_config()
    config.model.update({'depth': 50, 'num_classes': 1000, 'batch_norm_epsilon': 1e-3})
    with pytest.raises(InputError) as error:
        load(arrays, config)
    assert str(error.value).splitlines()[1:5] == [
        '  config.model.depth: expected 50, found 11',
        '  config.model.width: expected 64, found 4',
        '  config.model.num_classes: expected 1000, found 5',
        '  config.model.batch_norm_epsilon: expected 0.001, found 2e-05',
    ]


def test_a_config_of_the_same_network_keeps_its_other_fields(arrays):
    config = data_sets.use_data(schema.get_config(), 'digits')
    config.model.update({'depth': 11, 'width': 4, 'stem': 'imagenet', 'dtype': 'bfloat16'})
    config.batch_size = 12
    imported = load(arrays, config).config
    model, data = imported.model, imported.data
    assert (imported.batch_size, model.dtype, data.name) == (12, 'bfloat16', 'digits')
    assert (model.num_classes, data.mean) == (5, (123.68, 116.779, 103.939))
    assert config.data.mean == (77.9, 77.9, 77.9)


@pytest.mark.parametrize(
    ('name', 'value', 'message'),
    [
        ('fc1_bias', np.nan, 'fc1_bias: expected finite float32 numbers'),
        ('fc1_weight', np.inf, 'fc1_weight: expected finite float32 numbers'),
        ('bn1_moving_var', -1e-3, 'bn1_moving_var: expected variances'),
    ],
)
def test_numbers_that_are_not_finite_and_negative_variances_are_refused(
    arrays, name, value, message
):
    arrays[name].flat[-1] = value
    with pytest.raises(InputError, match=message):
        load(arrays)


def test_double_precision_that_overflows_is_refused(arrays):
    arrays['fc1_bias'] = np.full(5, 1e300)
    with pytest.raises(InputError, match='finite float32 numbers'):
        load(arrays)


@pytest.mark.parametrize('file_format', ['timm', 'keras', 'mxnet'])
def test_arrays_of_another_network_are_refused(file_format):
    arrays = {'layer1.0.conv1.weight': np.zeros((2, 2, 1, 1), 'f4')}
    with pytest.raises(InputError, match='expected the arrays of a ResNet v2.*layer1.0.conv1'):
        recognition.recognise(file_format, arrays, where='a')


def test_an_unsupported_depth_is_refused():
    names = [f'stage{s}_unit{u}_conv3_weight' for s in (1, 2, 3) for u in range(1, 7)]
    arrays = dict.fromkeys([*names, 'stage1_unit1_bn1_beta'], np.zeros((4, 4, 1, 1), 'f4'))
    with pytest.raises(InputError, match='three stages of 6 bottlenecks'):
        recognition.recognise('mxnet', arrays, where='a')


def test_an_array_that_comes_twice_is_refused(arrays):
    arrays['arg:fc1_bias'] = arrays['fc1_bias']
    with pytest.raises(InputError, match="'fc1_bias' twice"):
        load(arrays)


def test_names_that_are_too_long_are_refused_before_they_are_searched(arrays):
    arrays['stage1_' * 10**6] = np.zeros(1, 'f4')
    with pytest.raises(InputError, match='up to 256 characters, found one of 7,000,000'):
        load(arrays)


def test_an_unknown_format_is_an_error():
    with pytest.raises(InputError, match='--format=torch: expected one of mxnet, timm, keras'):
        importing.load_weights('torch', safetensors.numpy.save({}), where='a')


RAW = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
INCEPTION = ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5))


@pytest.mark.parametrize(
    ('variant', 'depth', 'stem', 'mean_std', 'sizes', 'interpolation'),
    [
        ('mxnet', 50, 'imagenet', RAW, (224, 256), 'bilinear'),
        (
            *('gluoncv', 18, 'imagenet'),
            *(((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)), (224, 256), 'bilinear'),
        ),
        (
            *('gluoncv_cifar', 20, 'cifar'),
            *(((125.307, 122.961, 113.8575), (51.5865, 50.847, 51.255)), (32, 32), 'bilinear'),
        ),
        ('timm', 18, 'imagenet', INCEPTION, (224, 248), 'bicubic'),
        ('timm', 50, 'imagenet', INCEPTION, (224, 235), 'bicubic'),
        ('timm_d', 50, 'imagenet', INCEPTION, (224, 256), 'bicubic'),
        ('keras', 50, 'imagenet', INCEPTION, (224, 256), 'bilinear'),
    ],
)
def test_preprocessing_comes_with_the_weights(variant, depth, stem, mean_std, sizes, interpolation):
    network = recognition.Network(None, variant, depth, stem, 64, 1000)
    image = {'mean': np.array([124.0, 117.0, 104.0]), 'var': np.array([3400.0, 3300.0, 3300.0])}
    statistics = {'input_norm': image}
    assert published.preprocessing(network, statistics) == {
        'data.mean': mean_std[0],
        'data.std': mean_std[1],
        'data.image_size': sizes[0],
        'data.resize_size': sizes[1],
        'data.train_interpolation': interpolation,
        'data.validation_interpolation': interpolation,
    }


MXNET_MEAN = (123.68, 116.779, 103.939)


@pytest.mark.parametrize(
    ('running_mean', 'running_var', 'mean', 'std'),
    [
        ((123.9, 116.6, 103.6), (3400, 3300, 3300), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        ((0.4, -0.2, 0.1), (3400, 3300, 3300), MXNET_MEAN, (1.0, 1.0, 1.0)),
        ((0.01, -0.02, 0.01), (1.1, 1.2, 1.1), MXNET_MEAN, (58.393, 57.12, 57.375)),
    ],
)
def test_mxnet_s_running_statistics_of_the_image_show_its_normalisation(
    arrays, running_mean, running_var, mean, std
):
    arrays['bn_data_moving_mean'] = np.array(running_mean, 'f4')
    arrays['bn_data_moving_var'] = np.array(running_var, 'f4')
    data = load(arrays).config.data
    assert (data.mean, data.std) == (mean, std)


def test_names_of_classes_are_those_of_the_published_data():
    def names(stem, number):
        network = recognition.Network(None, 'mxnet', 18, stem, 64, number)
        return published.names_of_classes(network)

    assert names('imagenet', 1000)[281] == 'n02123045 tabby, tabby cat'
    assert names('cifar', 10)[3] == 'cat'
    assert names('imagenet', 3) == ('0', '1', '2')
