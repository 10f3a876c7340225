"""Writes a data set once more, smaller, as a TFDS data set that is read faster.

Until it is whole it lies in `<output>/unfinished`. A preparation that was killed goes on behind the
last file that is whole, and its files are those of one that was not.
"""

import contextlib
import dataclasses
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf
from absl import logging
from ml_collections import ConfigDict

from resnet_jax import validation
from resnet_jax.data import decoding, encoded_images, record_files, sources, storing
from resnet_jax.data.decoding import Item
from resnet_jax.data.record_files import FileWriter, RecordFile
from resnet_jax.data.split import Source
from resnet_jax.data.storing import Encoding
from resnet_jax.monitoring.progress import Progress
from resnet_jax.monitoring.signals import StopRequest
from resnet_jax.monitoring.terminal import Terminal
from resnet_jax.types import InputError, Stopped
from resnet_jax.workdir import locked, write_text

FILE_BYTES = 2**27
"""About so large is a file; training shuffles the records of a few files in memory."""


def prepare(
    config: ConfigDict,
    output: Path,
    encoding: Encoding,
    screen: Terminal,
    request: StopRequest,
) -> None:
    """Writes the splits of a config's data set to `output`.

    They are read with `config.data.source = 'tfds'` and `config.data.dir = output`. Those of
    sources without an order of their own are permuted. An image that cannot be decoded is named in
    `bad_images.csv` and left out where `config.data.on_error` is 'skip'.

    Args:
      config: valid; `data` is read.
      output: a new or empty folder, or one in which the same was begun, which goes on.
      encoding: how images are stored.
      screen: where progress is shown.
      request: looked at between images.

    Raises:
      InputError: when the data or the folder are not as expected, and for an image that cannot be
        decoded unless those are skipped.
      RunFailed: when the data cannot be read, or the files not be written.
      Stopped: when it was asked to; whole files stay.
    """
    splits = {split: sources.load_source(config, split) for split in _whole_splits(config)}
    names = _require_same_classes(config, splits)
    prefix = _file_prefix(config)
    per_file = max(FILE_BYTES // encoding.bytes_per_image, 1)
    planned = [
        file
        for split, source in splits.items()
        for file in record_files.plan_files(prefix, split, source.num_examples, per_file)
    ]
    folder = _open_folder(output)
    with locked(folder, '--output'), contextlib.ExitStack() as stack:
        stack.callback(screen.show_progress, '')
        settings = _describe(config, encoding, splits)
        _require_same_settings(folder, settings)
        written = record_files.read_written(folder, planned)
        _require_space(output, planned[len(written) :], encoding)
        features = storing.create_features(encoding, names)
        progress = Progress(
            screen,
            sum(file.num_positions for file in planned),
            num_done=sum(file.num_positions for file in written),
            num_bytes=sum(file.num_bytes for file in written),
        )
        for split, source in splits.items():
            missing = [file for file in planned[len(written) :] if file.split == split]
            if not missing:
                continue
            examples = _encoded_examples(source, config, encoding, missing[0].start)
            with contextlib.closing(examples):
                for file in missing:
                    writer = FileWriter(folder, file)
                    _write_file(writer, examples, source, features, request, progress)
                    written.append(writer.close())
                    record_files.write_list(folder, written)
                    record_files.write_bad_images(output / 'bad_images.csv', written)
        _finish(config, output, folder, written, features, settings)


def _whole_splits(config: ConfigDict) -> list[str]:
    """Returns the splits that the config's are made of: 'train' of 'train[:90%]'."""
    parts = f'{config.data.train_split}+{config.data.validation_split}'.split('+')
    splits = list(dict.fromkeys(part.partition('[')[0].strip() for part in parts))
    for split in splits:
        if split == 'all' or not re.fullmatch(r'[\w-]+', split, re.ASCII):
            raise InputError(
                f"split {split!r}: expected letters, digits, _ or -, and not 'all', which TFDS "
                'could not read; rename it'
            )
    return splits


def _require_same_classes(config: ConfigDict, splits: dict[str, Source]) -> tuple[str, ...]:
    (first, source), *others = splits.items()
    for name, other in others:
        where = f'splits {first!r} and {name!r}'
        validation.validate_classes(config, source.class_names, other.class_names, where=where)
    return source.class_names


def _file_prefix(config: ConfigDict) -> str:
    name = config.data.name
    if not re.fullmatch(r'[a-z][a-z0-9_]*(/[\w.-]+)?', name, re.ASCII) or name.endswith('.'):
        raise InputError(
            f'config.data.name = {name!r}: expected the new name of a TFDS data set: a small '
            'letter and then small letters, digits or _'
        )
    return name.partition('/')[0]


def _describe(config: ConfigDict, encoding: Encoding, splits: dict[str, Source]) -> dict[str, Any]:
    """Returns what decides which records are written."""
    return {
        'made_from': f'{config.data.source} {config.data.name}',
        'num_positions': {split: source.num_examples for split, source in splits.items()},
        'interpolation': config.data.validation_interpolation,
        **dataclasses.asdict(encoding),
    }


def _open_folder(output: Path) -> Path:
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


def _require_same_settings(folder: Path, settings: dict[str, Any]) -> None:
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


def _require_space(output: Path, missing: list[RecordFile], encoding: Encoding) -> None:
    needed = sum(file.num_positions for file in missing) * encoding.bytes_per_image
    free = shutil.disk_usage(output).free
    if needed > free:
        raise InputError(
            f'--output={output}: expected room for about {needed / 1e9:,.1f} GB, found '
            f'{free / 1e9:,.1f} GB free (for images that are smaller, give a smaller --size)'
        )


def _encoded_examples(
    source: Source, config: ConfigDict, encoding: Encoding, start: int
) -> Iterator[dict[str, Any]]:
    """Yields id, label, mask, image and, of a bad one, the stored bytes as `fault`."""
    num_threads = config.data.num_threads or decoding.count_cores()
    encode = storing.make_encoder(encoding, config)
    seed = tf.zeros(2, tf.int64) if source.is_indexed else None
    nothing = '' if encoding.kind == 'jpeg' else tf.zeros([1, 1, 3], tf.uint8)

    def items_from(position: int) -> tf.data.Dataset:
        elements = source.elements(seed, tf.constant(position, tf.int64))
        return tf.data.Dataset.zip({'element': elements})

    def decode(_: Item, image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {'image': encode(image), 'fault': tf.constant('')}

    def blank(_: Item, image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {'image': nothing, 'fault': image if image.dtype == tf.string else ''}

    examples = decoding.decode_in_order(
        items_from(start),
        source,
        decode,
        blank=blank if config.data.on_error == 'skip' else None,
        num_threads=num_threads,
    )
    examples = examples.with_options(decoding.make_options(num_threads))
    position = start
    try:
        for example in examples.as_numpy_iterator():
            yield example
            position += 1
    except tf.errors.OpError as error:
        raise decoding.explain(items_from(position).take(1), source, decode, error) from None


def _write_file(
    writer: FileWriter,
    examples: Iterator[dict[str, Any]],
    source: Source,
    features: Any,
    request: StopRequest,
    progress: Progress,
) -> None:
    for _ in range(writer.file.num_positions):
        if request.signal is not None:
            message = 'stopped; whole files stay, and the same command continues behind them'
            raise Stopped(request.signal, message)
        example = next(examples, None)
        if example is None:
            raise InputError(
                f'split {writer.file.split!r}: expected {source.num_examples} examples, found '
                'fewer: the data set is not what its description says'
            )
        decoding.check_labels({key: example[key].reshape(1) for key in ('id', 'label')}, source)
        record = b''
        if example['mask']:
            record = storing.serialize(features, example['image'], example['label'])
            writer.write(record)
        else:
            fault = encoded_images.describe_fault(example['fault'])
            writer.leave_out(source.name(int(example['id'])), fault)
        progress.add(len(record))


def _finish(
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
