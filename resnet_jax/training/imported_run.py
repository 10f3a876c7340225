"""Creation of a run's folder from imported weights."""

import contextlib
import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import logging
from ml_collections import ConfigDict

from resnet_jax.checkpoints.format import Metadata
from resnet_jax.checkpoints.writing import CheckpointWriter
from resnet_jax.config.leading_metric import leading_metric
from resnet_jax.devices import backend, parallel
from resnet_jax.errors import InputError
from resnet_jax.monitoring import environment
from resnet_jax.storage.files import make_temporary_path
from resnet_jax.storage.workdir import Workdir
from resnet_jax.training import optimizers, schedules
from resnet_jax.training.state import create_state
from resnet_jax.weights import pickles
from resnet_jax.weights.importing import Imported, load_weights


def require_free(folder: Path) -> None:
    """Checks that the folder of a run is new or empty.

    Raises:
      InputError: if it contains anything, or is a file.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(
            f'--workdir={folder}: expected a new or empty folder, found one in use; choose another'
        )


def write_run(
    folder: Path,
    config: ConfigDict,
    class_names: Sequence[str],
    variables: dict[str, Any],
    origin: dict[str, str],
) -> None:
    """Creates the folder of a run at step 0, completely or not at all.

    Args:
      folder: path of the folder, which must be new or empty.
      config: valid config of the run.
      class_names: names of the classes in index order.
      variables: `{'params': ..., 'batch_stats': ...}` of float32.
      origin: description of the weights' origin, for `environment.json`.

    Raises:
      InputError: if the folder cannot be created.
      RunFailed: if the disk fails while the files are written.
    """
    require_free(folder)
    folder = folder.resolve()  # a symbolic link stays, and its target is filled
    Workdir(folder.parent).create()
    temporary = Workdir(make_temporary_path(folder))
    with contextlib.ExitStack() as stack:
        temporary.create()
        stack.callback(shutil.rmtree, temporary.path, ignore_errors=True)
        mesh = backend.all_devices()
        optimizer = optimizers.make_optimizer(config, schedules.make_schedule(config, 1))
        state = parallel.replicate(create_state(config, variables, optimizer), mesh)
        temporary.write_config(config)
        temporary.write_class_names(class_names)
        description = environment.describe_environment(list(mesh.devices.flat))
        temporary.write_environment(description | {'weights': origin})
        leading = leading_metric(config, len(class_names))
        with CheckpointWriter(temporary.checkpoints, keep=0, leading=leading) as writer:
            writer.save(state, Metadata(0, 0.0, {}, None))
            writer.wait()
        try:
            temporary.path.rename(folder)
        except OSError as error:
            raise InputError(
                f'--workdir={folder}: expected a folder to write into, found: {error.strerror}'
            ) from None


def import_weights(
    file_format: str, weights: Path, folder: Path, config: ConfigDict | None = None
) -> Imported:
    """Creates the folder of a run, with a checkpoint at step 0, from a file of weights.

    Args:
      file_format: name of the file's format, one of `importing.FORMATS`.
      weights: path of the file.
      folder: path of the run's folder, which must be new or empty.
      config: config to start from, or None for that of the data set on which the weights were
        trained. Its `model` must describe the network in the file; its preprocessing is replaced by
        that of the weights.

    Returns:
      The network that was imported.

    Raises:
      InputError: if the file is damaged, holds no known network or contradicts the config, or if
        the folder is in use. The disk is left as it was.
    """
    require_free(folder)
    content = pickles.read_file(weights)
    imported = load_weights(file_format, content, where=str(weights), config=config)
    origin = {
        'file': str(weights),
        'sha256': hashlib.sha256(content).hexdigest(),
        'format': file_format,
    }
    write_run(folder, imported.config, imported.class_names, imported.variables, origin)
    logging.info('%s: %s, from %s', folder, imported.description, weights)
    return imported
