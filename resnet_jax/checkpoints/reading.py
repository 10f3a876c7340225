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
      folder: the run's `checkpoints/`, which need not exist.
    """
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())


def read_metadata(folder: Path, step: int) -> Metadata:
    """Returns what was saved with a state.

    Raises:
      InputError: when the checkpoint is missing or damaged.
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
            # Compared as text, because a loss may be nan, which equals nothing.
            same_scores = json.dumps(stored, sort_keys=True) == json.dumps(scores, sort_keys=True)
        if not all(map(math.isfinite, numbers)):
            raise ValueError('a number that is not finite')
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f'{path}: expected a whole checkpoint, found {error!r}') from None
    if metadata.step != int(path.name):
        raise InputError(f'{path}: expected step {path.name}, found step {metadata.step}')
    if not same_scores:
        raise InputError(f'{path}: expected equal scores in metadata and metrics, found others')
    return metadata, checksum


def restore(
    folder: Path, step: int, abstract_state: Any, sharding: Sharding
) -> tuple[Any, Metadata]:
    """Reads a whole state onto devices and compares its checksum.

    Args:
      folder: the run's `checkpoints/`.
      step: one of `list_steps(folder)`.
      abstract_state: tree of shapes and dtypes, which must be the checkpoint's.
      sharding: where every array goes, on any number of devices.

    Returns:
      The tree with arrays in place of shapes, and the metadata.

    Raises:
      InputError: when the checkpoint is damaged or holds other arrays; says how.
    """

    def check(stored: Mapping[str, Any]) -> None:
        require_same_arrays(abstract_state, stored, what=str(folder / str(step)))

    arrays, metadata = read_arrays(folder, step, check)
    in_order = [arrays[name] for name in named_arrays(abstract_state)]
    state = jax.tree.unflatten(jax.tree.structure(abstract_state), in_order)
    return place(state, sharding), metadata


def place(tree: Any, sharding: Sharding) -> Any:
    """Puts host arrays onto devices, those of other processes included."""

    def put(array: np.ndarray) -> jax.Array:
        return jax.make_array_from_callback(array.shape, sharding, array.__getitem__)

    return jax.tree.map(put, tree)


def read_arrays(
    folder: Path, step: int, check: Callable[[Mapping[str, Any]], None]
) -> tuple[dict[str, np.ndarray], Metadata]:
    """Reads the arrays of a checkpoint by name and compares their checksum.

    Args:
      folder: the run's `checkpoints/`.
      step: one of `list_steps(folder)`.
      check: called with a description of the stored arrays by name, each with a `shape`, before
        any is read. It must refuse shapes that nobody expects, which could take all memory.

    Raises:
      InputError: when the checkpoint is damaged, or `check` raises it.
    """
    path = folder / str(step)
    metadata, checksum = _read_metadata(path)
    arrays = _read_stores(path, check)
    if compute_checksum(arrays, metadata) != checksum:
        raise InputError(f'{path}: expected the checksum {checksum}, found other bytes')
    return arrays, metadata


def _read_stores(path: Path, check: Callable[[Mapping[str, Any]], None]) -> dict[str, np.ndarray]:
    """Reads the arrays straight from the store that Orbax wrote.

    Orbax reads all arrays at once with asyncio. When one fails, it abandons the others, which then
    print tracebacks for as long as the process lives.
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
