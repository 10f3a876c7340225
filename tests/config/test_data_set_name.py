"""The name of a config's data set."""

import pytest

from resnet_jax.config import data_sets, schema
from resnet_jax.config.data_set_name import data_set_name


@pytest.mark.parametrize(
    ('data', 'expected'),
    [
        ({}, 'imagenet2012'),
        ({'name': 'cifar10', 'dir': '/data/sets'}, 'cifar10'),
        ({'source': 'digits', 'name': 'digits'}, 'digits'),
        ({'source': 'folder', 'dir': '/data/My photos'}, 'My photos'),
        ({'source': 'folder', 'dir': '/data/flowers/'}, 'flowers'),
        ({'source': 'folder', 'dir': '/data/flowers/train/..'}, 'flowers'),
        ({'source': 'folder', 'dir': '~/flowers'}, 'flowers'),
        ({'source': 'folder', 'dir': '/'}, 'folder'),
        ({'source': 'folder', 'dir': '/data/b\udcffd'}, 'b?d'),
        ({'source': 'folder', 'dir': '/data/flowers', 'name': 'digits'}, 'flowers'),
        ({'source': 'folder', 'dir': '/data/flowers', 'name': ''}, 'flowers'),
        ({'source': 'folder', 'dir': '/data/flowers', 'name': 'blooms'}, 'blooms'),
    ],
)
def test_a_folder_is_called_by_its_own_name_unless_another_was_chosen(data, expected):
    config = data_sets.use_data(schema.get_config(), 'imagenet2012')
    config.data.update(data)
    assert data_set_name(config) == expected
