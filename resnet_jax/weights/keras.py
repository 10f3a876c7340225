"""Keras files: `.h5`, `.weights.h5` and `.keras`, which are read without Keras.

All of them contain HDF5. Links out of the file and compressed arrays are refused. The config in a
`.keras` file, from which Keras would build layers, is not read.
"""

import io
import types
import zipfile
from typing import Any

import numpy as np

from resnet_jax.errors import InputError
from resnet_jax.weights.layouts import Leaves, Named, Numbered

KERAS_MEMBER = 'model.weights.h5'
"""Name of the HDF5 file in a `.keras` file, which is a zip archive."""

MAX_EXPANSION = 4
"""Greatest size of what is read from a file, in multiples of the size of the file.

Arrays of floats hardly compress.
"""

MAX_OBJECTS = 20_000
"""Greatest number of groups and arrays; ResNet152V2 has about 3000."""

MAX_LEVELS = 6
"""Greatest depth of the groups; a saved model has four: `model_weights/<layer>/<layer>/kernel`."""


class _Refused(ValueError):
    pass


def read_keras(content: bytes, *, where: str) -> dict[str, np.ndarray]:
    """Returns the floating-point arrays of a file by their paths in the file.

    Args:
      content: content of the file, HDF5 or a zip archive with `model.weights.h5` in it.
      where: name of the file, for messages.

    Raises:
      InputError: if the content is damaged or has another format, if it links out of the file, or
        if arrays are compressed or virtual; also if the package h5py is not installed.
    """
    h5py = _import_h5py()
    try:
        if content.startswith(b'PK'):
            content = _unzip(content)
        with h5py.File(io.BytesIO(content), 'r') as file:
            walk = _Walk(h5py, len(content))
            walk.visit(file, '', 1)
    except Exception as error:  # HDF5 raises errors of any type
        raise InputError(
            f'--weights={where}: expected a complete Keras file, which is HDF5 or a zip archive '
            f'with {KERAS_MEMBER} in it; found: {error}. Check the file and --format'
        ) from None
    return walk.arrays


def _unzip(content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        member = archive.getinfo(KERAS_MEMBER)
        if member.file_size > MAX_EXPANSION * len(content):
            raise _Refused(
                f'{KERAS_MEMBER} of {member.file_size:,} bytes in a file of {len(content):,} bytes'
            )
        with archive.open(member) as file:
            return file.read(member.file_size)


class _Walk:
    """Reads the plain arrays below a group, and refuses more than the file's size allows.

    Attributes:
      arrays: arrays read so far, by path.
    """

    def __init__(self, h5py: types.ModuleType, file_size: int):
        self.arrays: dict[str, np.ndarray] = {}
        self._h5py = h5py
        self._bytes_left = MAX_EXPANSION * file_size
        self._objects_left = MAX_OBJECTS

    def visit(self, group: Any, path: str, level: int) -> None:
        """Reads the arrays of an HDF5 group and of the groups in it."""
        self._objects_left -= len(group)
        if level > MAX_LEVELS or self._objects_left < 0:
            raise _Refused(f'more than {MAX_OBJECTS:,} objects or {MAX_LEVELS} levels of groups')
        for name in group:
            child_path = f'{path}/{name}'.removeprefix('/')
            link = group.get(name, getlink=True)
            if not isinstance(link, self._h5py.HardLink):
                raise _Refused(f'{child_path}, a link to somewhere else')
            child = group[name]
            if isinstance(child, self._h5py.Group):
                self.visit(child, child_path, level + 1)
            elif isinstance(child, self._h5py.Dataset) and child.dtype.kind == 'f':
                self.arrays[child_path] = self._read(child, child_path)

    def _read(self, dataset: Any, path: str) -> np.ndarray:
        if dataset.external or dataset.is_virtual:
            raise _Refused(f'{path}, whose values are in other files')
        if dataset.chunks is not None:
            raise _Refused(f'{path}, which is stored in chunks; Keras writes arrays in one piece')
        self._bytes_left -= dataset.nbytes
        if self._bytes_left < 0:
            raise _Refused(f'{path}, with more values than fit into the file')
        return dataset[()]


def _import_h5py() -> types.ModuleType:
    try:
        import h5py
    except ImportError:
        raise InputError(
            'a Keras file: expected the Python package h5py, found none; run '
            "pip install 'resnet_jax[weights]', or pip install h5py"
        ) from None
    return h5py


# keras.applications.resnet_v2: the names of its layers, in .h5 files of Keras 2 and 3.
KERAS_NAMED = Named(
    leaves=Leaves(
        norm={
            'scale': '/gamma',
            'bias': '/beta',
            'mean': '/moving_mean',
            'var': '/moving_variance',
        },
        linear={'kernel': '/kernel', 'bias': '/bias'},
        kernel='HWIO',
        head='IO',
    ),
    modules={'stem/conv': 'conv1_conv', 'final_norm': 'post_bn', 'head': 'predictions'},
    block_prefix='conv{stage}_block{block}_',
    first_block=(2, 1),
    parts={
        'norm1': 'preact_bn',
        'norm2': '1_bn',
        'norm3': '2_bn',
        'conv1': '1_conv',
        'conv2': '2_conv',
        'conv3': '3_conv',
        'projection': '0_conv',
    },
)

# Keras 3's .weights.h5 and .keras: the layers of each class, in the order of `model.layers`.
KERAS_NUMBERED = Numbered(
    leaves=Leaves(
        norm={'scale': '/0', 'bias': '/1', 'mean': '/2', 'var': '/3'},
        linear={'kernel': '/0', 'bias': '/1'},
        kernel='HWIO',
        head='IO',
    ),
    kinds={'norm': 'batch_normalization', 'conv': 'conv2d', 'head': 'dense'},
    stage_prefix='',
    order=('norm1', 'conv1', 'norm2', 'conv2', 'norm3', 'projection', 'conv3'),
    suffix='_{n}',
    first_suffix='',
)
