"""MXNet's `.params` files, read without MXNet, and the names of the arrays in them.

The layout is that of `NDArray::Load` in MXNet's src/ndarray/ndarray.cc, little-endian: u64 0x112,
u64 0, u64 count and the arrays, then u64 count and the names, each u64 length and bytes. An array
of versions 2 and 3 is u32 magic, i32 storage type 0, u32 dimensions, i64 shape, i32 device type,
i32 device id, i32 dtype, values. Version 1 has no storage type. The version before it has no magic
either: it starts with the dimensions, and its shape is u32.
"""

import math
import struct

import numpy as np

from resnet_jax.errors import InputError
from resnet_jax.weights.layouts import Leaves, Named, Numbered

FILE_MAGIC = 0x112

MAGIC_V1, MAGIC_V2, MAGIC_V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA

DTYPES: dict[int, np.dtype] = {0: np.dtype('<f4'), 1: np.dtype('<f8'), 2: np.dtype('<f2')}
"""Floating-point types by their numbers in MXNet. Arrays of integers are refused."""

MAX_DIMENSIONS = 4

SMALLEST_ARRAY = 4 + 4 + 8 + 4  # bytes: the oldest version, one dimension, no values

SMALLEST_NAME = 8  # bytes: an empty name


class _Reader:
    """Reads values from a buffer in order, and never beyond its end."""

    def __init__(self, content: bytes):
        self._content = content
        self._position = 0

    @property
    def remaining(self) -> int:
        """Number of bytes that have not been read."""
        return len(self._content) - self._position

    def take(self, size: int, subject: str) -> memoryview:
        """Returns the next `size` bytes; `subject` says what they are, for messages."""
        if size > self.remaining:
            raise _Malformed(f'{subject} of {size:,} bytes where {self.remaining:,} are left')
        start = self._position
        self._position += size
        return memoryview(self._content)[start : start + size]

    def numbers(self, kinds: str, subject: str) -> tuple[int, ...]:
        """Returns the next numbers; `kinds` are characters of the `struct` module."""
        layout = struct.Struct(f'<{kinds}')
        return layout.unpack(self.take(layout.size, subject))

    def count(self, smallest: int, subject: str) -> int:
        """Returns the next number, a count of objects of at least `smallest` bytes each."""
        [count] = self.numbers('Q', f'the number of {subject}')
        if count > self.remaining // smallest:
            raise _Malformed(f'{count:,} {subject} in {self.remaining:,} bytes')
        return count


class _Malformed(ValueError):
    pass


def read_params(content: bytes, *, where: str) -> dict[str, np.ndarray]:
    """Returns the arrays of a file by name, with the types and axes that they have in the file.

    Args:
      content: content of the file.
      where: name of the file, for messages.

    Raises:
      InputError: if the content is damaged or has another format; the message says where.
    """
    reader = _Reader(content)
    try:
        magic, _ = reader.numbers('QQ', 'the header of the file')
        if magic != FILE_MAGIC:
            raise _Malformed(f'{magic:#x} for its first eight bytes, not {FILE_MAGIC:#x}')
        count = reader.count(SMALLEST_ARRAY, 'arrays')
        arrays = [_read_array(reader, f'array {i} of {count}') for i in range(count)]
        num_names = reader.count(SMALLEST_NAME, 'names')
        names = [_read_name(reader) for _ in range(num_names)]
        if len(set(names)) != count or num_names != count:
            raise _Malformed(f'{len(set(names))} different names for {count} arrays')
        if reader.remaining:
            raise _Malformed(f'{reader.remaining:,} bytes after the end')
    except _Malformed as error:
        raise InputError(
            f'--weights={where}: expected a complete .params file of MXNet, found {error}. Check '
            'the file and --format'
        ) from None
    return dict(zip(names, arrays, strict=True))


def _read_array(reader: _Reader, subject: str) -> np.ndarray:
    [magic] = reader.numbers('I', subject)
    size_kind = 'q'  # of the numbers in a shape
    if magic in (MAGIC_V2, MAGIC_V3):
        [storage] = reader.numbers('i', subject)
        if storage != 0:
            raise _Malformed(f'{subject} with storage type {storage} (sparse), not 0')
    if magic in (MAGIC_V1, MAGIC_V2, MAGIC_V3):
        [dimensions] = reader.numbers('I', subject)
    else:
        dimensions, size_kind = magic, 'I'
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        raise _Malformed(f'{subject} with {dimensions:,} dimensions or the wrong magic')
    shape = reader.numbers(f'{dimensions}{size_kind}', subject)
    if min(shape) < 1:
        raise _Malformed(f'{subject} of shape {shape}')
    _, _, dtype = reader.numbers('iii', subject)
    if dtype not in DTYPES:
        raise _Malformed(f'{subject} of dtype {dtype}, not one of {list(DTYPES)}')
    size = math.prod(shape) * DTYPES[dtype].itemsize
    return np.frombuffer(reader.take(size, subject), DTYPES[dtype]).reshape(shape)


def _read_name(reader: _Reader) -> str:
    [length] = reader.numbers('Q', 'the length of a name')
    try:
        return bytes(reader.take(length, 'a name')).decode()
    except UnicodeDecodeError:
        raise _Malformed('a name that is not text') from None


# MXNet's symbols/resnet.py. It fixes the scale of bn_data at 1 and ignores the one in the file.
MXNET_SYMBOL = Named(
    leaves=Leaves(
        norm={'scale': '_gamma', 'bias': '_beta', 'mean': '_moving_mean', 'var': '_moving_var'},
        linear={'kernel': '_weight', 'bias': '_bias'},
    ),
    modules={
        'input_norm': 'bn_data',
        'stem/conv': 'conv0',
        'stem/norm': 'bn0',
        'final_norm': 'bn1',
        'head': 'fc1',
    },
    block_prefix='stage{stage}_unit{block}_',
    first_block=(1, 1),
    parts={
        'norm1': 'bn1',
        'norm2': 'bn2',
        'norm3': 'bn3',
        'conv1': 'conv1',
        'conv2': 'conv2',
        'conv3': 'conv3',
        'projection': 'sc',
    },
    ignored='bn_data_gamma',
)

# Gluon's HybridBlock.export, without the name of the network at the start.
GLUON_EXPORT = Numbered(
    leaves=Leaves(
        norm={'scale': '_gamma', 'bias': '_beta', 'mean': '_running_mean', 'var': '_running_var'},
        linear={'kernel': '_weight', 'bias': '_bias'},
    ),
    kinds={'norm': 'batchnorm', 'conv': 'conv', 'head': 'dense'},
    stage_prefix='stage{stage}_',
    order=('norm1', 'conv1', 'norm2', 'conv2', 'norm3', 'conv3', 'projection'),
    suffix='{n}',
    first_suffix='0',
)

# Gluon's Block.save_parameters: the numbers are positions in GluonCV's `features`.
_GLUON_LEAVES = Leaves(
    norm={'scale': '.gamma', 'bias': '.beta', 'mean': '.running_mean', 'var': '.running_var'},
    linear={'kernel': '.weight', 'bias': '.bias'},
)

_GLUON_PARTS = {
    'norm1': 'bn1',
    'norm2': 'bn2',
    'norm3': 'bn3',
    'conv1': 'conv1',
    'conv2': 'conv2',
    'conv3': 'conv3',
    'projection': 'downsample',
}

GLUON_IMAGENET = Named(
    leaves=_GLUON_LEAVES,
    modules={
        'input_norm': 'features.0',
        'stem/conv': 'features.1',
        'stem/norm': 'features.2',
        'final_norm': 'features.9',
        'head': 'output',
    },
    block_prefix='features.{stage}.{block}.',
    first_block=(5, 0),
    parts=_GLUON_PARTS,
)

GLUON_CIFAR = Named(
    leaves=_GLUON_LEAVES,
    modules={
        'input_norm': 'features.0',
        'stem/conv': 'features.1',
        'final_norm': 'features.5',
        'head': 'output',
    },
    block_prefix='features.{stage}.{block}.',
    first_block=(2, 0),
    parts=_GLUON_PARTS,
)
