"""Reading checkpoints: metadata, arrays by name, and whole states."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tensorstore as ts
from jax.sharding import Sharding

from resnet_jax.checkpoints.format import (
    Metadata,
    compute_checksum,
    named_arrays,
    rank,
    require_same_arrays,
)
from resnet_jax.errors import InputError


def list_steps(folder: Path) -> list[int]:
    """Returns the steps that have a checkpoint, whole or damaged, in ascending order.

    Args:
      folder: folder `checkpoints/` of the run; it need not exist.
    """
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())


def read_metadata(folder: Path, step: int) -> Metadata:
    """Returns the metadata of a checkpoint.

    Raises:
      InputError: if the checkpoint is missing or its metadata is damaged.
    """
    return _read_metadata(folder / str(step))[0]


def _read_metadata(path: Path) -> tuple[Metadata, str]:
    """Returns the metadata and the checksum of a checkpoint."""
    try:
        content = json.loads((path / 'metadata' / 'metadata').read_text())
        checksum = content.pop('checksum')
        metadata = Metadata(**content)
        numbers: list[float] = [metadata.epoch]
        same_scores = True
        if metadata.scores is not None:
            scores = {**metadata.scores, 'step': metadata.step}
            numbers += rank(scores)
            stored = json.loads((path / 'metrics' / 'metrics').read_text())
            # Compared as text, because a loss can be nan, which is not equal to itself.
            same_scores = json.dumps(stored, sort_keys=True) == json.dumps(scores, sort_keys=True)
        if not all(map(math.isfinite, numbers)):
            raise ValueError('a number that is not finite')
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f'{path}: expected a whole checkpoint, found {error!r}') from None
    if metadata.step != int(path.name):
        raise InputError(f'{path}: expected step {path.name}, found step {metadata.step}')
    if not same_scores:
        raise InputError(
            f'{path}: expected the same scores in metadata and metrics, found different scores'
        )
    return metadata, checksum


def restore(
    folder: Path, step: int, abstract_state: Any, sharding: Sharding
) -> tuple[Any, Metadata]:
    """Reads a whole state, verifies its checksum and puts it onto devices.

    Args:
      folder: folder `checkpoints/` of the run.
      step: one of `list_steps(folder)`.
      abstract_state: tree of the shapes and dtypes that the checkpoint must have.
      sharding: sharding of every array, on any number of devices.

    Returns:
      The tree with arrays in place of shapes, and the metadata.

    Raises:
      InputError: if the checkpoint is damaged or holds other arrays; the message says which.
    """

    def check(stored: Mapping[str, Any]) -> None:
        require_same_arrays(abstract_state, stored, what=str(folder / str(step)))

    arrays, metadata = read_arrays(folder, step, check)
    in_order = [arrays[name] for name in named_arrays(abstract_state)]
    state = jax.tree.unflatten(jax.tree.structure(abstract_state), in_order)
    return place(state, sharding), metadata


def place(tree: Any, sharding: Sharding) -> Any:
    """Puts the arrays of a tree onto devices, including the devices of other processes."""

    def put(array: np.ndarray) -> jax.Array:
        return jax.make_array_from_callback(array.shape, sharding, array.__getitem__)

    return jax.tree.map(put, tree)


def read_arrays(
    folder: Path, step: int, check: Callable[[Mapping[str, Any]], None]
) -> tuple[dict[str, np.ndarray], Metadata]:
    """Reads the arrays of a checkpoint by name and verifies their checksum.

    Args:
      folder: folder `checkpoints/` of the run.
      step: one of `list_steps(folder)`.
      check: function that is called before any array is read. Its argument describes the stored
        arrays by name, each with a `shape`. It must refuse unexpected shapes, because a damaged
        shape could exhaust the memory.

    Raises:
      InputError: if the checkpoint is damaged, or if `check` raises it.
    """
    path = folder / str(step)
    metadata, checksum = _read_metadata(path)
    arrays = _read_stores(path, check)
    actual = compute_checksum(arrays, metadata)
    if actual != checksum:
        raise InputError(f'{path}: expected checksum {checksum}, found {actual}')
    return arrays, metadata


def _read_stores(path: Path, check: Callable[[Mapping[str, Any]], None]) -> dict[str, np.ndarray]:
    """Reads arrays directly from the store that Orbax wrote.

    Orbax itself reads all arrays at once with asyncio. If one read fails, Orbax abandons the other
    reads, and they print tracebacks until the process ends.
    """
    root = {'driver': 'file', 'path': f'{path.absolute() / "state"}/'}
    try:
        keys = ts.KvStore.open({'driver': 'ocdbt', 'base': root}).result().list().result()
        stores = {}
        for key in sorted(key.decode() for key in keys if key.endswith(b'/.zarray')):
            location = {'driver': 'ocdbt', 'base': root, 'path': key.removesuffix('.zarray')}
            spec = {'driver': 'zarr', 'kvstore': location, 'fill_missing_data_reads': False}
            stores[key.removesuffix('/.zarray').replace('.', '/')] = ts.open(spec).result()
        if not stores:
            raise ValueError('no arrays')
        check(stores)
        reads = {name: store.read() for name, store in stores.items()}
        return {name: read.result() for name, read in reads.items()}
    except InputError:
        raise
    except Exception as error:  # TensorStore raises errors of many types
        raise InputError(f'{path}: expected a whole checkpoint, found {error!r}') from None
