"""Damaged files of weights: whatever is changed in a real one, the only error is the documented."""

from pathlib import Path

import pytest
import weight_files
from flax import traverse_util
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resnet_jax.models import resnet
from resnet_jax.models.weights import importing, native
from resnet_jax.types import InputError

TIMM = Path(__file__).parent / 'data' / 'timm'

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


@pytest.fixture(scope='module')
def real_files(tmp_path_factory):
    """Contents by format: GluonCV's, where it is there, timm's, and Keras's own."""
    shared = Path(__file__).parents[2] / 'shared/data/gluoncv/cifar_resnet20_v2-0000.params'
    folder = tmp_path_factory.mktemp('keras')
    keras_model = weight_files.keras_resnet_v2(4, (3, 3, 3), 5)
    keras_model.save_weights(folder / 'a.weights.h5')
    keras_model.save(folder / 'a.keras')
    config = weight_files.make_config(8, 'mxnet', 'cifar', 4)
    model = resnet.create_model(config, 5)
    arrays = weight_files.random_variables(model)
    params = {f'arg:{"_".join(path)}': array for path, array in arrays.items()}
    return {
        'mxnet': shared.read_bytes() if shared.is_file() else weight_files.to_params(params),
        'resnet_jax': native.encode(config, 'abcde', traverse_util.unflatten_dict(arrays), 0),
        'timm': (TIMM / 'basic.safetensors').read_bytes(),
        'keras': (folder / 'a.weights.h5').read_bytes(),
        'keras zip': (folder / 'a.keras').read_bytes(),
    }


@pytest.mark.parametrize(
    ('name', 'cases'),
    [
        ('mxnet', CASES),
        ('timm', CASES),
        ('keras', CASES),
        ('keras zip', 100),
        ('resnet_jax', CASES),
    ],
)
def test_mutated_files_are_read_or_refused(real_files, name, cases):
    content, outcomes = real_files[name], {True: 0, False: 0}

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
            importing.load_weights(name.split()[0], mutate(content, mutations), where='a')
        except InputError:
            outcomes[False] += 1
        else:
            outcomes[True] += 1

    read()
    assert outcomes[False] > cases / 4
    assert sum(outcomes.values()) >= cases
