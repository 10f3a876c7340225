"""The config schema, the config files, and their validation."""

import pytest
from support.configs import CONFIGS, digits_config, load

from resnet_jax.config import checks, data_sets, schema
from resnet_jax.config.depths import cifar_blocks
from resnet_jax.errors import InputError


def test_there_is_a_config_for_each_network_of_the_issue():
    imagenet = {f'resnet{depth}' for depth in (18, 34, 50, 101, 152, 200, 269)}
    cifar = {f'cifar10_resnet{depth}' for depth in (20, 110, 164, 1001)}
    assert {path.stem for path in CONFIGS} >= imagenet | cifar | {'resnet18_blog2016'}


@pytest.mark.parametrize('name', [path.stem for path in CONFIGS])
def test_a_config_is_valid_on_its_own_and_with_every_data_set(name):
    default = load(name)
    checks.validate(default)
    names = {'folder': '', 'cifar10': 'cifar10'}
    assert default.data.name == names.get(name.split('_')[0], 'imagenet2012')
    for data in data_sets.DATA_SETS:
        config = load(name, data)
        checks.validate(config)
        assert config.data.name == data
        assert config.data.source == ('digits' if data == 'digits' else 'tfds')
        assert (config.data.validation_fraction, config.data.exif_orientation) == (0.0, False)
        assert config.model.depth == default.model.depth
        fields = schema.flatten(config)
        assert set(fields) == set(schema.flatten(schema.get_config()))
        assert not [field for field, value in fields.items() if value is None or value == []]
        assert not [field for field, value in fields.items() if isinstance(value, list)]


@pytest.mark.parametrize('name', [path.stem for path in CONFIGS])
def test_the_digits_data_set_sets_small_images_and_float32(name):
    config = load(name, 'digits')
    assert (config.data.image_size, config.data.resize_size) == (8, 8)
    assert (config.data.source, config.data.augmentation) == ('digits', 'shift')
    assert (config.model.stem, config.model.dtype) == ('cifar', 'float32')
    assert config.batch_size == 64


def test_resnet18_is_the_experiment():
    fields = schema.flatten(load('resnet18'))
    expected = {
        'seed': 0,
        'num_epochs': 30,
        'batch_size': 256,
        'num_devices': 0,
        'model.depth': 18,
        'model.stem': 'imagenet',
        'model.dtype': 'bfloat16',
        'model.num_classes': 0,
        'data.source': 'tfds',
        'data.name': 'imagenet2012',
        'data.image_size': 224,
        'data.resize_size': 256,
        'data.augmentation': 'random_resized_crop',
        'optimizer.learning_rate': 0.1,
        'optimizer.momentum': 0.9,
        'optimizer.nesterov': True,
        'optimizer.weight_decay': 1e-4,
        'schedule.name': 'step',
        'schedule.factor': 0.1,
    }
    assert {field: fields[field] for field in expected} == expected
    assert len(fields['schedule.boundaries_epochs']) == 3
    assert max(fields['schedule.boundaries_epochs']) < 30


def test_blog2016_is_the_published_recipe():
    fields = schema.flatten(load('resnet18_blog2016'))
    expected = {
        'num_epochs': 30,
        'batch_size': 144,
        'model.depth': 18,
        'model.variant': 'mxnet',
        'model.dtype': 'float32',
        'model.sync_batch_norm': False,
        'model.batch_norm_momentum': 0.9,
        'model.batch_norm_epsilon': 0.0,
        'model.kernel_init': 'mxnet_2016',
        'data.image_size': 224,
        'data.resize_size': 256,
        'data.augmentation': 'crop_mirror',
        'data.std': (1.0, 1.0, 1.0),
        'optimizer.learning_rate': 0.1,
        'optimizer.momentum': 0.9,
        'optimizer.nesterov': False,
        'optimizer.weight_decay': 1e-4,
        'optimizer.decay_all_parameters': True,
        'optimizer.gradient_clip': 5.0,
        'optimizer.gradient_clip_kind': 'value',
        'label_smoothing': 0.0,
        'ema_decay': 0.0,
        'schedule.name': 'exponential',
        'schedule.factor': 0.94,
        'schedule.warmup_epochs': 0.0,
        'keep_checkpoints': 0,
    }
    assert {field: fields[field] for field in expected} == expected


@pytest.mark.parametrize(
    ('depth', 'expected'),
    [
        (8, (False, 1)),
        (20, (False, 3)),
        (32, (False, 5)),
        (44, (False, 7)),
        (56, (False, 9)),
        (110, (False, 18)),
        (11, (True, 1)),
        (164, (True, 18)),
        (1001, (True, 111)),
    ],
)
def test_blocks_of_cifar_depths(depth, expected):
    assert cifar_blocks(depth) == expected


@pytest.mark.parametrize('depth', [-4, 0, 1, 2, 7, 9, 19, 21, 100, 1000])
def test_other_depths_are_refused(depth):
    with pytest.raises(InputError, match=rf'config\.model\.depth = {depth}: .*18, 34.*6n\+2.*9n'):
        cifar_blocks(depth)


NAN, INF = float('nan'), float('inf')

INVALID = [
    ('seed', -1, 'at least 0'),
    ('seed', 2**31 - 1, 'at most 2,147,483,646'),
    ('num_epochs', 0, 'at least 1'),
    ('batch_size', 0, 'at least 1'),
    ('optimizer.accumulate_steps', 0, 'at least 1'),
    ('batch_size', 10**400, 'expected'),
    ('num_devices', -1, 'at least 0'),
    ('num_devices', 3, 'multiple of 3 (3 devices)'),
    ('model.depth', 19, '6n+2'),
    ('model.variant', 'torch', 'mxnet, timm'),
    ('model.stem', 'Cifar', 'imagenet, cifar'),
    ('model.dtype', 'float16', 'float32, bfloat16'),
    ('model.width', 0, 'at least 1'),
    ('model.num_classes', -1, 'at least 0'),
    ('model.batch_norm_momentum', 1.0, 'at most 0.999999'),
    ('model.batch_norm_epsilon', -1e-5, 'at least 0'),
    ('model.kernel_init', 'he', 'he_fan_out, he_fan_in, mxnet_2016'),
    ('data.source', 'files', 'digits, tfds, folder'),
    ('data.image_size', 0, 'at least 1'),
    ('data.resize_size', 7, 'data.image_size = 8'),
    ('data.augmentation', 'cutmix', 'random_resized_crop, crop_mirror, pad_crop, shift, none'),
    ('data.train_interpolation', 'nearest', 'bilinear, bicubic'),
    ('data.validation_interpolation', 'area', 'bilinear, bicubic'),
    ('data.mean', (1.0, 2.0), '3 numbers'),
    ('data.mean', (1.0, 2.0, 'x'), '3 numbers'),
    ('data.mean', (NAN, 0.0, 0.0), 'numbers'),
    ('data.std', (1.0, 2.0, 3.0, 4.0), '3 numbers'),
    ('data.std', (1.0, 0.0, 1.0), 'at least 0.001'),
    ('data.std', (1.0, NAN, 1.0), 'numbers'),
    ('data.std', (1.0, 1.0, INF), 'numbers'),
    ('optimizer.learning_rate', 0.0, 'at least 1e-30'),
    ('optimizer.learning_rate', NAN, 'at least 1e-30'),
    ('optimizer.learning_rate', INF, 'at most 1e+30'),
    ('optimizer.momentum', 1.0, 'at most 0.999999'),
    ('optimizer.weight_decay', -0.1, 'at least 0'),
    ('optimizer.weight_decay', NAN, 'at least 0'),
    ('optimizer.gradient_clip', -1.0, 'at least 0'),
    ('optimizer.gradient_clip_kind', 'norm', 'global_norm, value'),
    ('optimizer.frozen', 'head', 'none, backbone'),
    ('optimizer.frozen', 'backbone', 'config.initial_weights'),
    ('initial_head', 'old', 'auto, keep, new'),
    ('initial_head', 'keep', 'config.initial_weights'),
    ('initial_head', 'new', 'config.initial_weights'),
    ('label_smoothing', 1.0, 'at most 0.999999'),
    ('ema_decay', -0.5, 'at least 0'),
    ('schedule.name', 'linear', 'step, exponential, cosine, constant'),
    ('schedule.factor', 0.0, 'at least 1e-06'),
    ('schedule.factor', INF, 'at most 1,000'),
    ('schedule.boundaries_epochs', (10, 5), 'strictly increasing'),
    ('schedule.boundaries_epochs', (5, 5), 'strictly increasing'),
    ('schedule.boundaries_epochs', (0, 5), 'above 0'),
    ('schedule.boundaries_epochs', ('5',), 'numbers'),
    ('schedule.boundaries_epochs', (5, INF), 'numbers'),
    ('schedule.warmup_epochs', -1.0, 'at least 0'),
    ('log_every_steps', 0, 'at least 1'),
    ('evaluate_every_epochs', 0, 'at least 1'),
    ('checkpoint_every_epochs', 0, 'at least 1'),
    ('keep_checkpoints', -1, 'at least 0'),
]


@pytest.mark.parametrize(('field', 'value', 'allowed'), INVALID, ids=lambda value: str(value)[:25])
def test_an_invalid_value_is_refused_by_name_with_what_is_allowed(field, value, allowed):
    config = digits_config()
    config.update_from_flattened_dict({field: value})
    with pytest.raises(InputError) as refusal:
        checks.validate(config)
    named = 'batch_size' if field == 'num_devices' and value > 0 else field
    assert f'config.{named} = ' in str(refusal.value)
    assert str(config[named] if named == 'batch_size' else value)[:20] in str(refusal.value)
    assert allowed in str(refusal.value)


@pytest.mark.parametrize('devices', [1, 2, 4, 64])
def test_a_batch_that_the_devices_can_share_is_valid(devices):
    checks.validate(digits_config(num_devices=devices))


def test_a_folder_source_needs_a_folder():
    with pytest.raises(InputError, match=r"config\.data\.dir = '': .*<split>/<class>"):
        checks.validate(digits_config(data__source='folder'))
    checks.validate(digits_config(data__source='folder', data__dir='somewhere'))


def test_a_field_that_the_schema_lacks_is_refused():
    config = digits_config()
    config.batchsize = 5
    with pytest.raises(InputError, match=r'config\.batchsize.*did you mean batch_size'):
        checks.validate(config)


def test_a_field_that_is_missing_is_refused():
    config = digits_config()
    del config['seed']
    with pytest.raises(InputError, match=r'config\.seed'):
        checks.validate(config)


@pytest.mark.parametrize('name', ['a\0b', '\ud800', 'x\ud800y'])
@pytest.mark.parametrize('field', checks.PATHS)
def test_a_path_that_no_file_can_have_is_refused(field, name):
    with pytest.raises(InputError) as refusal:
        checks.validate(digits_config(**{field.replace('.', '__'): name}))
    assert f'config.{field} = {name!r}: expected a path' in str(refusal.value)
    str(refusal.value).encode()


@pytest.mark.parametrize('name', ['a\0b', '\udcff', 'a\nb', 'a\rb', '\u2028', '\x1b[2J', '\x85'])
@pytest.mark.parametrize('field', ['data.name', 'data.train_split', 'data.validation_split'])
def test_a_name_that_cannot_be_written_in_one_line_of_text_is_refused(field, name):
    with pytest.raises(InputError) as refusal:
        checks.validate(digits_config(**{field.replace('.', '__'): name}))
    assert f'config.{field} = {name!r}: expected text without control' in str(refusal.value)
    str(refusal.value).encode()


def test_names_in_other_scripts_are_valid():
    checks.validate(digits_config(data__name='Äpfel und 果物\u3000à la carte'))


def test_a_number_that_python_cannot_print_is_refused():
    with pytest.raises(InputError, match='config.seed = a number of thousands of digits'):
        checks.validate(digits_config(seed=10**5000))
