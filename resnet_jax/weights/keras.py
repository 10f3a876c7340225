"""Keras's files: `.h5`, `.weights.h5` and `.keras`, read without Keras.

All hold HDF5. Nothing in it is followed out of the file, nothing is decompressed, and the config of
a `.keras` file, from which Keras would build layers, is not looked at.
"""

import io
import types
import zipfile

import numpy as np

from resnet_jax.errors import InputError

KERAS_MEMBER = 'model.weights.h5'
"""Where a `.keras` file, which is a zip, has its arrays."""

MAX_EXPANSION = 4
"""Times the size of the file that is read of it: arrays of floats hardly compress."""

MAX_OBJECTS = 20_000  # groups and arrays; ResNet152V2 has about 3000
MAX_LEVELS = 6  # a saved model has four: model_weights/<layer>/<layer>/kernel


class _Refused(ValueError):
    pass


def read_keras(content: bytes, *, where: str) -> dict[str, np.ndarray]:
    """Returns the arrays of floats of a file by their paths in it.

    Args:
      content: of the file, HDF5 or a zip with `model.weights.h5` in it.
      where: the file's name, for messages.

    Raises:
      InputError: when the content is anything else, or links out of the file, is compressed or
        virtual; or the package is not installed.
    """
    h5py = _import_h5py()
    try:
        if content.startswith(b'PK'):
            content = _unzip(content)
        with h5py.File(io.BytesIO(content), 'r') as file:
            walk = _Walk(h5py, len(content))
            walk.visit(file, '', 1)
    except Exception as error:  # HDF5 raises whatever it stumbles over
        raise InputError(
            f'--weights={where}: expected a whole file of Keras, HDF5 or a .keras file with '
            f'{KERAS_MEMBER} in it; found: {error}'
        ) from None
    return walk.arrays


def _unzip(content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        member = archive.getinfo(KERAS_MEMBER)
        if member.file_size > MAX_EXPANSION * len(content):
            raise _Refused(f'{KERAS_MEMBER} of {member.file_size:,} bytes in {len(content):,}')
        with archive.open(member) as file:
            return file.read(member.file_size)


class _Walk:
    """Reads the arrays below a group, as long as they are plain and fit into the file's size.

    Attributes:
      arrays: those read so far, by path.
    """

    def __init__(self, h5py: types.ModuleType, file_size: int):
        self.arrays: dict[str, np.ndarray] = {}
        self._h5py = h5py
        self._bytes_left = MAX_EXPANSION * file_size
        self._objects_left = MAX_OBJECTS

    def visit(self, group, path: str, level: int) -> None:
        self._objects_left -= len(group)
        if level > MAX_LEVELS or self._objects_left < 0:
            raise _Refused(f'more than {MAX_OBJECTS:,} objects or {MAX_LEVELS} levels of groups')
        for name in group:
            inner = f'{path}/{name}'.removeprefix('/')
            link = group.get(name, getlink=True)
            if not isinstance(link, self._h5py.HardLink):
                raise _Refused(f'{inner}, a link to somewhere else')
            found = group[name]
            if isinstance(found, self._h5py.Group):
                self.visit(found, inner, level + 1)
            elif isinstance(found, self._h5py.Dataset) and found.dtype.kind == 'f':
                self.arrays[inner] = self._read(found, inner)

    def _read(self, dataset, path: str) -> np.ndarray:
        if dataset.external or dataset.is_virtual:
            raise _Refused(f'{path}, whose values lie in other files')
        if dataset.chunks is not None:
            raise _Refused(f'{path}, stored in chunks; Keras writes arrays in one piece')
        self._bytes_left -= dataset.nbytes
        if self._bytes_left < 0:
            raise _Refused(f'{path}, with more values than fit into the file')
        return dataset[()]


def _import_h5py() -> types.ModuleType:
    try:
        import h5py
    except ImportError:
        raise InputError(
            'a file of Keras: expected the Python package h5py, found none; '
            "pip install 'resnet_jax[weights]', or h5py alone"
        ) from None
    return h5py
