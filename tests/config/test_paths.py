"""Paths that Linux can have."""

import pytest

from resnet_jax.config import data_sets, paths, schema
from resnet_jax.config.checks import validate
from resnet_jax.errors import InputError


@pytest.mark.parametrize(
    'path',
    ['', 'runs/here', '/', 'x' * 255, 'ä' * 127, '/'.join(['x' * 99] * 40), 'caf\udce9'],
)
def test_a_path_that_a_file_can_have_is_possible(path):
    assert paths.is_possible(path)


@pytest.mark.parametrize(
    'path',
    ['x' * 256, 'runs/' + 'ä' * 128, '/'.join(['x' * 99] * 41), 'a\0b', 'a\ud800b'],
)
def test_a_path_that_no_file_can_have_is_not(path):
    assert not paths.is_possible(path)


def test_a_byte_that_is_not_utf8_is_noticed():
    assert paths.is_utf8('runs/für-ä')
    assert not paths.is_utf8('caf\udce9')


@pytest.mark.parametrize('field', ['data.dir', 'initial_weights'])
def test_a_field_with_an_impossible_path_is_refused(field):
    config = data_sets.use_data(schema.get_config(), 'digits')
    config.update_from_flattened_dict({field: 'x' * 5000})
    with pytest.raises(InputError, match='at most 4,095 bytes, with at most 255 in each name'):
        validate(config)
