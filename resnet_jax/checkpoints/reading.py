"""Reading checkpoints: metadata, arrays by name, and whole states."""

import json
import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tensorstore as ts
from jax.sharding import Sharding

from resnet_jax.checkpoints.format import (
    Metadata,
    compute_checksums,
    compute_joint_checksum,
    compute_metadata_checksum,
    named_arrays,
    require_same_arrays,
)
from resnet_jax.errors import InputError
from resnet_jax.storage.steps import parse_step

Chooser = Callable[[Mapping[str, Any]], Collection[str]]
"""A function that says which arrays of a checkpoint are read.

It is called before any array is read. Its argument describes all stored arrays by name, each with a
`shape`. It must refuse unexpected names and shapes, because a damaged shape could exhaust the
memory.
"""


def list_steps(folder: Path) -> list[int]:
    """Returns the steps that have a checkpoint, whole or damaged, in ascending order.

    Args:
      folder: folder `checkpoints/` of the run; it need not exist.
    """
    if not folder.is_dir():
        return []
    steps = (parse_step(path.name) for path in folder.iterdir())
    return sorted(step for step in steps if step is not None)


def read_metadata(folder: Path, step: int) -> Metadata:
    """Returns the metadata of a checkpoint.

    Raises:
      InputError: if the checkpoint is missing or its metadata is damaged.
    """
    return _read_metadata(folder / str(step))[0]


def _read_metadata(path: Path) -> tuple[Metadata, str, dict[str, str] | None]:
    """Returns metadata, its checksum and those of the arrays; None if version 0.1.0 wrote it."""
    try:
        content = json.loads((path / 'metadata' / 'metadata').read_text())
        checksum, checksums = content.pop('checksum'), content.pop('checksums', None)
        metadata = Metadata(**content)
        if checksums is not None:
            checksums = dict(checksums)
            actual = compute_metadata_checksum(metadata, checksums)
            if actual != checksum:
                raise ValueError(f'metadata with checksum {actual} instead of {checksum}')
        numbers: list[float] = [metadata.epoch]
        numbers += [number for sums in metadata.train_sums.values() for number in sums]
        same_scores = True
        if metadata.scores is not None:
            scores = {**metadata.scores, 'step': metadata.step}
            numbers += [scores['top5'], scores['top1']]
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
    return metadata, checksum, checksums


def restore(
    folder: Path, step: int, abstract_state: Any, sharding: Sharding
) -> tuple[Any, Metadata]:
    """Reads a whole state, verifies its checksums and puts it onto devices.

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

    def choose_all(stored: Mapping[str, Any]) -> Collection[str]:
        require_same_arrays(abstract_state, stored, what=str(folder / str(step)))
        return stored.keys()

    arrays, metadata = read_arrays(folder, step, choose_all)
    in_order = [arrays[name] for name in named_arrays(abstract_state)]
    state = jax.tree.unflatten(jax.tree.structure(abstract_state), in_order)
    return place(state, sharding), metadata


def place(tree: Any, sharding: Sharding) -> Any:
    """Puts the arrays of a tree onto devices, including the devices of other processes."""

    def put(array: np.ndarray) -> jax.Array:
        return jax.make_array_from_callback(array.shape, sharding, array.__getitem__)

    return jax.tree.map(put, tree)


def read_arrays(folder: Path, step: int, choose: Chooser) -> tuple[dict[str, np.ndarray], Metadata]:
    """Reads arrays of a checkpoint by name and verifies their checksums.

    Of a checkpoint of version 0.1.0, all arrays are read, because they have one common checksum.

    Args:
      folder: folder `checkpoints/` of the run.
      step: one of `list_steps(folder)`.
      choose: function that says which arrays are read.

    Returns:
      The chosen arrays in the order of the choice, and the metadata.

    Raises:
      InputError: if what is read is damaged, or if `choose` raises it. The message names the
        damaged arrays.
    """
    path = folder / str(step)
    metadata, checksum, checksums = _read_metadata(path)
    stores = _open_stores(path)
    chosen = choose(stores)
    if checksums is None:
        arrays = _read_stores(path, stores)
        actual = compute_joint_checksum(arrays, metadata)
        if actual != checksum:
            raise InputError(f'{path}: expected checksum {checksum}, found {actual}')
        return {name: arrays[name] for name in chosen}, metadata
    if stores.keys() != checksums.keys():
        missing = ', '.join(sorted(stores.keys() ^ checksums.keys()))
        raise InputError(f'{path}: expected a checksum for each array, found none for {missing}')
    arrays = _read_stores(path, {name: stores[name] for name in chosen})
    actual_checksums = compute_checksums(arrays)
    damages = {
        name: f'checksum {actual} instead of {checksums[name]}'
        for name, actual in actual_checksums.items()
        if actual != checksums[name]
    }
    _require_none(path, damages)
    return arrays, metadata


def _open_stores(path: Path) -> dict[str, Any]:
    """Opens the arrays in the store that Orbax wrote, and reads their shapes and dtypes."""
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
    except Exception as error:  # TensorStore raises errors of many types
        raise InputError(f'{path}: expected a whole checkpoint, found {error!r}') from None
    return stores


def _read_stores(path: Path, stores: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Reads arrays, and waits for all of them before it raises an error.

    Orbax itself reads all arrays at once with asyncio. If one read fails, Orbax abandons the other
    reads, and they print tracebacks until the process ends.
    """
    reads = {name: store.read() for name, store in stores.items()}
    arrays, damages = {}, {}
    for name, read in reads.items():
        try:
            arrays[name] = read.result()
        except Exception as error:  # TensorStore raises errors of many types
            damages[name] = repr(error)
    _require_none(path, damages)
    return arrays


def _require_none(path: Path, damages: Mapping[str, str]) -> None:
    """Raises an error that names the damaged arrays, and says what is wrong with the first."""
    if damages:
        raise InputError(
            f'{path}: expected a whole checkpoint, found damage in {", ".join(damages)}: '
            f'{next(iter(damages.values()))}'
        )
