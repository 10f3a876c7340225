"""Readers of weight files: complete files are read, all others are refused with a message."""

import io
import struct
import sys
import tracemalloc
import zipfile

import h5py
import numpy as np
import pytest
import safetensors.numpy as safetensors_numpy
from support import weight_files

from resnet_jax.errors import InputError
from resnet_jax.weights import importing, keras, mxnet, pickles, safetensors

ARRAYS = {
    'arg:conv0_weight': np.arange(24, dtype='f4').reshape(2, 3, 2, 2),
    'aux:bn_moving_mean': np.array([1.5, -2.0], 'f4'),
}


def read_params(content):
    return mxnet.read_params(content, where='a.params')


def read_keras(content):
    return keras.read_keras(content, where='a.h5')


def assert_same(arrays, expected):
    assert list(arrays) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(arrays[name], array)


@pytest.mark.parametrize('version', [0, 1, 2, 3])
def test_params_of_each_version_are_read(version):
    assert_same(read_params(weight_files.to_params(ARRAYS, version)), ARRAYS)


def test_params_of_half_and_double_precision_are_read():
    arrays = {'a': np.array([0.5, 1.0], 'f2'), 'b': np.array([[0.25]], 'f8')}
    assert_same(read_params(weight_files.to_params(arrays)), arrays)


def test_a_real_params_file_is_read(shared_data):
    content = (shared_data / 'gluoncv' / 'cifar_resnet20_v2-0000.params').read_bytes()
    arrays = read_params(content)
    assert len(arrays) == 103
    assert arrays['arg:cifarresnetv20_conv0_weight'].shape == (16, 3, 3, 3)


def replaced(position, *values, layout='<q'):
    """Returns the file of `ARRAYS` with other numbers at a position."""
    content = bytearray(weight_files.to_params(ARRAYS))
    struct.pack_into(layout, content, position, *values)
    return bytes(content)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'header of the file of 16 bytes where 0 are left'),
        (b'\0' * 40, '0x0 for its first eight bytes'),
        (weight_files.to_params(ARRAYS)[:100], 'where'),
        (weight_files.to_params(ARRAYS)[:-1], 'a name of 18 bytes where 17 are left'),
        (weight_files.to_params(ARRAYS) + b'\0', '1 bytes after the end'),
        (weight_files.to_params(ARRAYS, count=2**63), '9,223,372,036,854,775,808 arrays'),
        (weight_files.to_params(ARRAYS, num_names=2**40), '1,099,511,627,776 names'),
        (weight_files.to_params(ARRAYS, num_names=1), 'after the end|names for 2 arrays'),
        (weight_files.to_params({'a': np.zeros(2, 'i4')}), 'dtype 4'),
        (replaced(24, 0xDEADBEEF, layout='<I'), 'wrong magic'),
        (replaced(28, 1, layout='<i'), 'storage type 1'),
        (replaced(32, 2**31, layout='<I'), 'dimensions'),
        (replaced(36, -2), r'of shape \(-2, 3, 2, 2\)'),
        (replaced(36, 0), r'of shape \(0, 3, 2, 2\)'),
        (replaced(36, 2**62), 'where'),
    ],
)
def test_damaged_params_are_refused(content, message):
    with pytest.raises(InputError, match=f'a.params.*({message})'):
        read_params(content)


def test_duplicate_names_and_names_that_are_not_text_are_refused():
    content = weight_files.to_params(dict.fromkeys('ab', np.zeros(1, 'f4')))
    with pytest.raises(InputError, match='1 different names for 2 arrays'):
        read_params(content[:-1] + b'a')
    with pytest.raises(InputError, match='not text'):
        read_params(content[:-1] + b'\xff')


def test_claimed_counts_allocate_nothing():
    hostile = [
        weight_files.to_params(ARRAYS, count=2**40),
        replaced(36, 2**40),
        struct.pack('<QQQQ', 0x112, 0, 0, 2**40),
        struct.pack('<QQQQQ', 0x112, 0, 0, 0, 2**62),
    ]
    tracemalloc.start()
    for content in hostile:
        with pytest.raises(InputError):
            read_params(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_safetensors_are_read_with_their_metadata():
    arrays = {
        'a': np.array([[1.0, 2.0]], 'f4'),
        'half': np.array([0.5], 'f2'),
        'num_batches_tracked': np.array(3, 'i8'),
    }
    content = safetensors_numpy.save(arrays, metadata={'format': 'pt'})
    read_arrays, metadata = safetensors.read_safetensors(content, where='a')
    assert sorted(read_arrays) == ['a', 'half']
    np.testing.assert_array_equal(read_arrays['a'], arrays['a'])
    np.testing.assert_array_equal(read_arrays['half'], arrays['half'])
    assert metadata == {'format': 'pt'}


def test_bfloat16_is_the_upper_half_of_float32():
    header = b'{"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}'
    content = struct.pack('<Q', len(header)) + header + bytes.fromhex('803f20c1')
    arrays, _ = safetensors.read_safetensors(content, where='a')
    np.testing.assert_array_equal(arrays['a'], np.array([1.0, -10.0], 'f4'))
    assert arrays['a'].dtype == np.float32


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'\xff' * 16,
        struct.pack('<Q', 2**63) + b'{}',
        struct.pack('<Q', 2) + b'[]',
        safetensors_numpy.save({'a': np.zeros(8, 'f4')})[:-1],
        b'<\0\0\0\0\0\0\0{"a":{"dtype":"F32","shape":[4294967296],"data_offsets":[0,4]}}',
    ],
)
def test_damaged_safetensors_are_refused(content):
    with pytest.raises(InputError, match='expected a complete .safetensors file'):
        safetensors.read_safetensors(content, where='a')


def hdf5(write):
    """Returns the content of an HDF5 file that `write(file)` filled."""
    content = io.BytesIO()
    with h5py.File(content, 'w') as file:
        write(file)
    return content.getvalue()


def test_hdf5_and_keras_s_zip_are_read():
    def write(file):
        file['layers/conv2d/vars/0'] = np.ones((1, 1, 2, 3), 'f4')
        file['layers/count'] = 7

    content = hdf5(write)
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, 'w') as archive:
        archive.writestr('config.json', '{"class_name": "Lambda"}')
        archive.writestr('model.weights.h5', content)
    for arrays in read_keras(content), read_keras(zipped.getvalue()):
        assert list(arrays) == ['layers/conv2d/vars/0']
        np.testing.assert_array_equal(arrays['layers/conv2d/vars/0'], np.ones((1, 1, 2, 3)))


def external_link(file):
    file['a'] = h5py.ExternalLink('/etc/hostname', '/')


def soft_link(file):
    file['b'] = np.zeros(3, 'f4')
    file['a'] = h5py.SoftLink('/b')


def external_storage(file):
    file.create_dataset('a', (4,), 'f4', external=[('/etc/passwd', 0, 16)])


def virtual(file):
    layout = h5py.VirtualLayout(shape=(4,), dtype='f4')
    layout[:] = h5py.VirtualSource('/etc/passwd', 'x', shape=(4,))
    file.create_virtual_dataset('a', layout)


def compressed(file):
    file.create_dataset('a', data=np.zeros(2**20, 'f4'), compression='gzip')


def never_written(file):
    file.create_dataset('a', (2**40,), 'f4')


def circular(file):
    file.create_group('a')['again'] = file['/']


def exponential(file):
    inner = file.create_group('0')
    for i in range(1, 8):
        outer = file.create_group(str(i))
        for j in range(40):
            outer[str(j)] = inner
        inner = outer


@pytest.mark.parametrize(
    ('write', 'message'),
    [
        (external_link, 'a link to somewhere else'),
        (soft_link, 'a link to somewhere else'),
        (external_storage, 'values are in other files'),
        (virtual, 'values are in other files'),
        (compressed, 'stored in chunks'),
        (never_written, 'more values than fit'),
        (circular, 'levels of groups'),
        (exponential, 'levels of groups'),
    ],
)
def test_hdf5_with_links_or_more_data_than_the_file_is_refused(write, message):
    with pytest.raises(InputError, match=message):
        read_keras(hdf5(write))


def zip_of(name, content, **arguments):
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, 'w', **arguments) as archive:
        archive.writestr(name, content)
    return zipped.getvalue()


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'expected a complete Keras file'),
        (b'\x89HDF\r\n\x1a\n', 'expected a complete Keras file'),
        (zip_of('other.h5', b''), 'no item named'),
        (zip_of('model.weights.h5', bytes(2**24), compression=zipfile.ZIP_DEFLATED), '16,777,216'),
        (zip_of('model.weights.h5', b'not HDF5'), 'expected a complete Keras file'),
    ],
)
def test_other_files_than_those_of_keras_are_refused(content, message):
    with pytest.raises(InputError, match=message):
        read_keras(content)


def torch_zip():
    return zip_of('archive/data.pkl', b'\x80\x02}.')


@pytest.mark.parametrize(
    ('name', 'content'),
    [('a.pth', b''), ('a.pt', b''), ('a.bin', b''), ('a', b'\x80\x04.'), ('a.h5', torch_zip())],
)
def test_pickles_are_refused_with_the_recipe(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match='unpickling runs code.*\n.*torch.load.*weights_only=True'):
        pickles.read_file(tmp_path / name)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(InputError, match='found none'):
        pickles.read_file(tmp_path / 'a.params')
    with pytest.raises(InputError, match='found none'):
        pickles.read_file(tmp_path)


@pytest.mark.parametrize(
    ('package', 'file_format'),
    [('safetensors.numpy', 'timm'), ('safetensors.numpy', 'resnet_jax'), ('h5py', 'keras')],
)
def test_a_package_that_is_not_installed_is_named(monkeypatch, package, file_format):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf'{package.split(".")[0]}.*pip install'):
        importing.load_weights(file_format, b'', where='a')
