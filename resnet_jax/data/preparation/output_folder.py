"""Output folder of `prepare`: opening it, checking whether it can be continued, finishing it.

Everything is written in `<output>/unfinished`. Its `settings.json` holds the settings of the
preparation, which must not change when it is continued, and its `files.jsonl` lists the finished
files. The last step renames the folder to where TFDS looks for the data set.
"""

import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from absl import logging
from ml_collections import ConfigDict

from resnet_jax.config.data_set_name import data_set_name
from resnet_jax.console.wording import format_bytes
from resnet_jax.data.file_names import printable
from resnet_jax.data.preparation import record_files
from resnet_jax.data.preparation.encoding import Encoding
from resnet_jax.data.preparation.record_files import RecordFile
from resnet_jax.errors import InputError
from resnet_jax.storage.files import write_text

ADDED_SETTINGS = {'exif_orientation': False}
"""Values of settings that an earlier version did not write."""


def prepared_name(config: ConfigDict) -> str:
    """Returns the name of the new data set: that of the old one, as a folder of TFDS has it."""
    name = data_set_name(config)
    if name == config.data.name:
        return name
    return re.sub(r'[^a-z0-9]+', '_', name.lower()).strip('_') or 'images'


def open_folder(output: Path) -> Path:
    """Returns `<output>/unfinished`, and makes it if the output folder is new or empty.

    Raises:
      InputError: if the output folder holds anything else, cannot be written, or has a name that is
        not UTF-8, with which TFDS cannot work.
    """
    folder = output / 'unfinished'
    try:
        str(output).encode()
        if output.exists() and not folder.exists() and any(output.iterdir()):
            raise InputError(
                f'--output={output}: expected a new or empty folder, found '
                f'{", ".join(sorted(path.name for path in output.iterdir())[:5])} in it; choose '
                'another folder or empty this one'
            )
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f'--output={output}: expected a folder to write into, found: {error.strerror}'
        ) from None
    except UnicodeEncodeError:
        raise InputError(
            f'--output={printable(output)}: expected a name in UTF-8; choose another folder'
        ) from None
    return folder


def require_same_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Writes the settings of a new preparation, or checks them against those of the unfinished one.

    Raises:
      InputError: if the settings differ or cannot be read.
    """
    path = folder / 'settings.json'
    if not (folder / 'files.jsonl').exists():  # no file is finished
        for file in folder.glob('*.tfrecord-*'):
            file.unlink()
        write_text(path, json.dumps(settings, indent=2) + '\n')
        return
    try:
        old = ADDED_SETTINGS | json.loads(path.read_text(encoding='utf-8'))
        changed = [f'{key} {old[key]!r}' for key in settings if old[key] != settings[key]]
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError):
        changed = ['unknown settings (settings.json cannot be read)']
    if changed:
        raise InputError(
            f'--output={folder.parent}: expected the settings of the unfinished preparation in it, '
            f'found others: it was started with {", ".join(changed)}; use the same settings, '
            'or choose another folder'
        )


def require_space(output: Path, missing: list[RecordFile], encoding: Encoding) -> None:
    """Raises `InputError` if the disk has too little space for the missing files."""
    needed = sum(file.num_positions for file in missing) * encoding.bytes_per_image
    free = shutil.disk_usage(output).free
    if needed > free:
        raise InputError(
            f'--output={output}: expected about {format_bytes(needed)} of free space, found '
            f'{format_bytes(free)}; free some space, or choose a smaller --size'
        )


def finish(
    config: ConfigDict,
    output: Path,
    folder: Path,
    files: list[RecordFile],
    features: Any,
    settings: dict[str, Any],
) -> None:
    """Writes the description of the files, and moves them to where TFDS looks for them.

    Args:
      config: a complete config; `data` is read.
      output: the output folder.
      folder: the folder of the unfinished preparation in it.
      files: all files, written.
      features: TFDS's description of the examples.
      settings: settings of the preparation, which become the data set's metadata.

    Raises:
      InputError: if no image of a split can be decoded.
      RunFailed: if the folder cannot be written.
    """
    for split in settings['num_positions']:
        if not any(file.num_examples for file in files if file.split == split):
            raise InputError(
                f'split {split!r}: expected at least one image that can be decoded, found none; '
                'see bad_images.csv'
            )
    name = prepared_name(config)
    target = output / name / record_files.VERSION
    with record_files.explained(target):
        record_files.write_description(folder, files, features, settings)
        for path in folder.glob('.*.tmp'):  # of a process that was killed
            path.unlink()
        target.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(target)
        (target / 'settings.json').unlink()  # only now: until here it guards the files
        (target / '.lock').unlink()
    num_bad = sum(len(file.bad_images) for file in files)
    logging.info(
        '%s: %d images, %s%s. Read them with --config.data.source=tfds '
        '--config.data.name=%s --config.data.dir=%s',
        output,
        sum(file.num_examples for file in files),
        format_bytes(sum(file.num_bytes for file in files)),
        f', {num_bad} bad images left out (bad_images.csv)' if num_bad else '',
        name,
        output,
    )
