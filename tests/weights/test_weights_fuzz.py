"""Damaged weight files: any change of a real file is either read or refused with InputError."""

import numpy as np
import pytest
from flax import traverse_util
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import weight_files
from support.paths import FIXTURES

from resnet_jax.errors import InputError
from resnet_jax.models import resnet
from resnet_jax.weights import importing, matching, mxnet, own_format, pickles, recognition

pytestmark = pytest.mark.slow

TIMM = FIXTURES / 'timm'

CASES = 700

POSITIONS = st.tuples(st.sampled_from(['head', 'anywhere', 'tail']), st.integers(0, 2**31))

NUMBERS = st.sampled_from([0, 1, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1])

MUTATIONS = st.lists(
    st.one_of(
        st.tuples(st.just('write'), POSITIONS, st.binary(min_size=1, max_size=8)),
        st.tuples(st.just('write'), POSITIONS, NUMBERS.map(lambda n: n.to_bytes(8, 'little'))),
        st.tuples(st.just('insert'), POSITIONS, st.binary(min_size=1, max_size=16)),
        st.tuples(st.just('remove'), POSITIONS, st.integers(1, 64)),
        st.tuples(st.just('cut'), POSITIONS, st.none()),
    ),
    min_size=1,
    max_size=4,
)


def mutate(content, mutations):
    content = bytearray(content)
    for kind, (region, number), value in mutations:
        size = max(len(content), 1)
        at = number % (size if region == 'anywhere' else min(size, 4096))
        at = size - 1 - at if region == 'tail' else at
        if kind == 'write':
            content[at : at + len(value)] = value
        elif kind == 'insert':
            content[at:at] = value
        elif kind == 'remove':
            del content[at : at + value]
        else:
            del content[at:]
    return bytes(content)


def params_file():
    """Returns an 8-layer network with the names of MXNet's symbol."""
    network = recognition.Network(mxnet.MXNET_SYMBOL, 'mxnet', 8, 'cifar', 4, 5)
    expected = matching.expected_arrays(network)
    return weight_files.to_params(
        {name: np.ones(array.shape, 'f4') for name, array in expected.items()}
    )


def keras_file(folder, name):
    model = weight_files.keras_resnet_v2(4, (3, 3, 3), 5)
    (model.save_weights if 'weights' in name else model.save)(folder / name)
    return (folder / name).read_bytes()


def own_file():
    config = weight_files.make_config(8, 'mxnet')
    arrays = weight_files.random_variables(resnet.create_model(config, 5))
    return own_format.encode(config, 'abcde', traverse_util.unflatten_dict(arrays), 0)


@pytest.fixture
def content(request, tmp_path):
    """Undamaged file of the kind that the test names."""
    if request.param == 'trained.params':
        folder = request.getfixturevalue('shared_data') / 'gluoncv'
        return (folder / 'cifar_resnet20_v2-0000.params').read_bytes()
    if request.param.startswith('keras'):
        return keras_file(tmp_path, request.param)
    return {
        'new.params': params_file,
        'timm.safetensors': (TIMM / 'basic.safetensors').read_bytes,
        'own.safetensors': own_file,
    }[request.param]()


@pytest.mark.parametrize(
    ('content', 'file_format', 'cases'),
    [
        ('trained.params', 'mxnet', CASES),
        ('new.params', 'mxnet', CASES),
        ('timm.safetensors', 'timm', CASES),
        ('own.safetensors', 'resnet_jax', CASES),
        ('keras.weights.h5', 'keras', CASES),
        ('keras.keras', 'keras', 100),
    ],
    indirect=['content'],
)
def test_mutated_files_are_read_or_refused(content, file_format, cases, tmp_path):
    path = tmp_path / 'mutated'
    outcomes = {'read': 0, 'refused': 0}

    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(MUTATIONS)
    def read(mutations):
        try:
            path.write_bytes(mutate(content, mutations))
            importing.load_weights(file_format, pickles.read_file(path), where='a')
        except InputError:
            outcomes['refused'] += 1
        else:
            outcomes['read'] += 1

    importing.load_weights(file_format, content, where='a')
    read()
    assert sum(outcomes.values()) >= cases
    assert outcomes['refused'] > cases / 4
    assert outcomes['read'] > 0
