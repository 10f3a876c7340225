"""The output folder of `prepare`: opening, continuing and finishing it."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from absl import logging
from ml_collections import ConfigDict

from resnet_jax.data.preparation import record_files
from resnet_jax.data.preparation.encoding import Encoding
from resnet_jax.data.preparation.record_files import RecordFile
from resnet_jax.errors import InputError
from resnet_jax.storage.files import write_text


def open_folder(output: Path) -> Path:
    """Returns the folder for what is unfinished, in an output that holds nothing else."""
    folder = output / 'unfinished'
    try:
        if output.exists() and not folder.exists() and any(output.iterdir()):
            raise InputError(
                f'--output={output}: expected a new or empty folder, found '
                f'{", ".join(sorted(path.name for path in output.iterdir())[:5])} in it; choose '
                'another, or take those away'
            )
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f'--output={output}: expected a folder to write into, found: {error.strerror}'
        ) from None
    return folder


def require_same_settings(folder: Path, settings: dict[str, Any]) -> None:
    path = folder / 'settings.json'
    if not (folder / 'files.jsonl').exists():  # no file is known to be whole
        for file in folder.glob('*.tfrecord-*'):
            file.unlink()
        write_text(path, json.dumps(settings, indent=2) + '\n')
        return
    try:
        before = json.loads(path.read_text(encoding='utf-8'))
        changed = [f'{key} {before.get(key)!r}' for key in settings if before[key] != settings[key]]
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError):
        changed = ['something else']
    if changed:
        raise InputError(
            f'--output={folder.parent}: expected what was begun there to go on, found that it was '
            f'begun with {", ".join(changed)}; repeat that, or choose another folder'
        )


def require_space(output: Path, missing: list[RecordFile], encoding: Encoding) -> None:
    needed = sum(file.num_positions for file in missing) * encoding.bytes_per_image
    free = shutil.disk_usage(output).free
    if needed > free:
        raise InputError(
            f'--output={output}: expected room for about {needed / 1e9:,.1f} GB, found '
            f'{free / 1e9:,.1f} GB free (for images that are smaller, give a smaller --size)'
        )


def finish(
    config: ConfigDict,
    output: Path,
    folder: Path,
    files: list[RecordFile],
    features: Any,
    settings: dict[str, Any],
) -> None:
    """Describes the files and moves them to where TFDS looks for them."""
    for split in settings['num_positions']:
        if not any(file.num_examples for file in files if file.split == split):
            raise InputError(f'split {split!r}: expected an image that can be decoded, found none')
    target = output / config.data.name / record_files.VERSION
    with record_files.explained(target):
        record_files.write_description(folder, files, features, settings)
        for path in folder.glob('.*.tmp'):  # of a process that was killed
            path.unlink()
        target.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(target)
        (target / 'settings.json').unlink()  # not before: they guard what is unfinished
        (target / '.lock').unlink()
    num_bad = sum(len(file.bad_images) for file in files)
    logging.info(
        '%s: %d images, %.2f GB%s. Read them with --config.data.source=tfds --config.data.dir=%s',
        output,
        sum(file.num_examples for file in files),
        sum(file.num_bytes for file in files) / 1e9,
        f', without {num_bad} bad ones (bad_images.csv)' if num_bad else '',
        output,
    )
