"""Runs made from imported weights."""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import logging
from ml_collections import ConfigDict

from resnet_jax.checkpoints.format import Metadata
from resnet_jax.checkpoints.writing import CheckpointWriter
from resnet_jax.devices import backend, parallel
from resnet_jax.errors import InputError
from resnet_jax.monitoring import environment
from resnet_jax.storage.workdir import Workdir
from resnet_jax.training import optimizers, schedules
from resnet_jax.training.state import create_state
from resnet_jax.weights import opening
from resnet_jax.weights.importing import Imported, load_weights


def require_free(folder: Path) -> None:
    """Checks that a run's folder can be made.

    Raises:
      InputError: when something is there already.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f'--workdir={folder}: expected a folder that is new or empty')


def write_run(
    folder: Path,
    config: ConfigDict,
    class_names: Sequence[str],
    variables: dict[str, Any],
    origin: dict[str, str],
) -> None:
    """Makes the folder of a run at step 0, whole or not at all.

    Args:
      folder: new or empty.
      config: valid.
      class_names: in index order.
      variables: `{'params': ..., 'batch_stats': ...}` of float32.
      origin: of the weights, for `environment.json`.

    Raises:
      InputError: when the folder cannot be written.
      RunFailed: when the disk fails meanwhile.
    """
    require_free(folder)
    folder = folder.absolute()
    temporary = Workdir(folder.with_name(f'.{folder.name}.{os.getpid()}.tmp'))
    Workdir(folder.parent).create()
    with contextlib.ExitStack() as stack:
        temporary.create()
        stack.callback(shutil.rmtree, temporary.path, ignore_errors=True)
        mesh = backend.all_devices()
        optimizer = optimizers.make_optimizer(config, schedules.make_schedule(config, 1))
        state = parallel.replicate(create_state(config, variables, optimizer), mesh)
        temporary.write_config(config)
        temporary.write_class_names(class_names)
        described = environment.describe_environment(list(mesh.devices.flat))
        temporary.write_environment(described | {'weights': origin})
        with CheckpointWriter(temporary.checkpoints, keep=0) as writer:
            writer.save(state, Metadata(0, 0.0, {}, None))
            writer.wait()
        try:
            temporary.path.rename(folder)
        except OSError as error:
            raise InputError(
                f'--workdir={folder}: expected a folder that can be made, found: {error.strerror}'
            ) from None


def import_weights(
    file_format: str, weights: Path, folder: Path, config: ConfigDict | None = None
) -> Imported:
    """Makes the folder of a run, with a checkpoint at step 0, from a file of weights.

    Args:
      file_format: one of `FORMATS`.
      weights: the file.
      folder: of the run; new or empty.
      config: what the run's config begins with, or None for that of the weights' data set. Its
        `model` must be the file's network; its preprocessing is replaced by the weights' own.

    Raises:
      InputError: when the file is not whole, not of a known network or contradicts the config, or
        the folder is in use. Then nothing is left behind.
    """
    require_free(folder)
    content = opening.read_file(weights)
    imported = load_weights(file_format, content, where=str(weights), config=config)
    origin = {
        'file': str(weights),
        'sha256': hashlib.sha256(content).hexdigest(),
        'format': file_format,
    }
    write_run(folder, imported.config, imported.class_names, imported.variables, origin)
    logging.info('%s: %s, from %s', folder, imported.description, weights)
    return imported
