"""MXNet's `.params` files, read without MXNet.

The layout is that of `NDArray::Load` in MXNet's src/ndarray/ndarray.cc, little-endian: u64 0x112,
u64 0, u64 count and the arrays, then u64 count and the names, each u64 length and bytes. An array
of versions 2 and 3 is u32 magic, i32 storage type 0, u32 dimensions, i64 shape, i32 device type,
i32 device id, i32 dtype, values. Version 1 has no storage type; before it, dimensions stood in the
magic's place and the shape was u32.
"""

import math
import struct

import numpy as np

from resnet_jax.errors import InputError

FILE_MAGIC = 0x112
MAGIC_V1, MAGIC_V2, MAGIC_V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA

DTYPES = {0: np.dtype('<f4'), 1: np.dtype('<f8'), 2: np.dtype('<f2')}
"""MXNet's numbers of the types that weights have; it has others for integers."""

MAX_DIMENSIONS = 4
SMALLEST_ARRAY = 4 + 4 + 8 + 4  # bytes: the oldest version, one dimension, one float16
SMALLEST_NAME = 8


class _Reader:
    """Takes values from the front of a buffer, never more than it holds."""

    def __init__(self, content: bytes):
        self._content = content
        self._position = 0

    @property
    def remaining(self) -> int:
        return len(self._content) - self._position

    def take(self, size: int, what: str) -> memoryview:
        if size > self.remaining:
            raise _Malformed(f'{what} of {size:,} bytes where {self.remaining:,} are left')
        start = self._position
        self._position += size
        return memoryview(self._content)[start : start + size]

    def numbers(self, kind: str, what: str) -> tuple[int, ...]:
        layout = struct.Struct(f'<{kind}')
        return layout.unpack(self.take(layout.size, what))

    def count(self, smallest: int, what: str) -> int:
        """Reads a count of things that take at least `smallest` bytes each."""
        [count] = self.numbers('Q', f'the number of {what}')
        if count > self.remaining // smallest:
            raise _Malformed(f'{count:,} {what} in {self.remaining:,} bytes')
        return count


class _Malformed(ValueError):
    pass


def read_params(content: bytes, *, where: str) -> dict[str, np.ndarray]:
    """Returns the arrays of a file by name, as they lie in it.

    Args:
      content: of the file.
      where: the file's name, for messages.

    Raises:
      InputError: when the content is anything else, with the place where it goes wrong.
    """
    reader = _Reader(content)
    try:
        magic, _ = reader.numbers('QQ', 'the head of the file')
        if magic != FILE_MAGIC:
            raise _Malformed(f'{magic:#x} for its first eight bytes, not {FILE_MAGIC:#x}')
        count = reader.count(SMALLEST_ARRAY, 'arrays')
        arrays = [_read_array(reader, f'array {i} of {count}') for i in range(count)]
        num_names = reader.count(SMALLEST_NAME, 'names')
        names = [_read_name(reader) for _ in range(num_names)]
        if len(set(names)) != count or num_names != count:
            raise _Malformed(f'{len(set(names))} different names for {count} arrays')
        if reader.remaining:
            raise _Malformed(f'{reader.remaining:,} bytes behind the end')
    except _Malformed as error:
        raise InputError(
            f"--weights={where}: expected a whole file in MXNet's .params format, found {error}"
        ) from None
    return dict(zip(names, arrays, strict=True))


def _read_array(reader: _Reader, what: str) -> np.ndarray:
    [magic] = reader.numbers('I', what)
    size_kind = 'q'
    if magic in (MAGIC_V2, MAGIC_V3):
        [storage] = reader.numbers('i', what)
        if storage != 0:
            raise _Malformed(f'{what} with storage type {storage} (sparse), not 0')
    if magic in (MAGIC_V1, MAGIC_V2, MAGIC_V3):
        [dimensions] = reader.numbers('I', what)
    else:
        dimensions, size_kind = magic, 'I'
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        raise _Malformed(f'{what} with {dimensions:,} dimensions or the wrong magic')
    shape = reader.numbers(f'{dimensions}{size_kind}', what)
    if min(shape) < 1:
        raise _Malformed(f'{what} of shape {shape}')
    _, _, dtype = reader.numbers('iii', what)
    if dtype not in DTYPES:
        raise _Malformed(f'{what} of dtype {dtype}, not one of {list(DTYPES)}')
    size = math.prod(shape) * DTYPES[dtype].itemsize
    return np.frombuffer(reader.take(size, what), DTYPES[dtype]).reshape(shape)


def _read_name(reader: _Reader) -> str:
    [length] = reader.numbers('Q', 'the length of a name')
    try:
        return bytes(reader.take(length, 'a name')).decode()
    except UnicodeDecodeError:
        raise _Malformed('a name that is not text') from None
