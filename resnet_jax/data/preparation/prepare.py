"""Writes a data set once more, smaller, as a TFDS data set that is read faster.

Until it is whole it lies in `<output>/unfinished`. A preparation that was killed goes on behind the
last file that is whole, and its files are those of one that was not.
"""

import contextlib
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf
from ml_collections import ConfigDict

from resnet_jax.config import checks
from resnet_jax.console.progress import Progress
from resnet_jax.console.signals import StopRequest
from resnet_jax.console.terminal import Terminal
from resnet_jax.data import decoding
from resnet_jax.data.examples import (
    Item,
    check_labels,
    count_cores,
    decode_in_order,
    explain,
    make_options,
)
from resnet_jax.data.preparation import record_files
from resnet_jax.data.preparation.encoding import Encoding, create_features, make_encoder, serialize
from resnet_jax.data.preparation.output import (
    finish,
    open_folder,
    require_same_settings,
    require_space,
)
from resnet_jax.data.preparation.record_files import FileWriter
from resnet_jax.data.source import Source
from resnet_jax.data.sources import loading
from resnet_jax.errors import InputError, Stopped
from resnet_jax.storage.files import locked

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
    splits = {split: loading.load_source(config, split) for split in _whole_splits(config)}
    names = _require_same_classes(config, splits)
    prefix = _file_prefix(config)
    per_file = max(FILE_BYTES // encoding.bytes_per_image, 1)
    planned = [
        file
        for split, source in splits.items()
        for file in record_files.plan_files(prefix, split, source.num_examples, per_file)
    ]
    folder = open_folder(output)
    with locked(folder, '--output'), contextlib.ExitStack() as stack:
        stack.callback(screen.show_progress, '')
        settings = _describe(config, encoding, splits)
        require_same_settings(folder, settings)
        written = record_files.read_written(folder, planned)
        require_space(output, planned[len(written) :], encoding)
        features = create_features(encoding, names)
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
        finish(config, output, folder, written, features, settings)


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
        checks.validate_classes(config, source.class_names, other.class_names, where=where)
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


def _encoded_examples(
    source: Source, config: ConfigDict, encoding: Encoding, start: int
) -> Iterator[dict[str, Any]]:
    """Yields id, label, mask, image and, of a bad one, the stored bytes as `fault`."""
    num_threads = config.data.num_threads or count_cores()
    encode = make_encoder(encoding, config)
    seed = tf.zeros(2, tf.int64) if source.is_indexed else None
    nothing = '' if encoding.kind == 'jpeg' else tf.zeros([1, 1, 3], tf.uint8)

    def items_from(position: int) -> tf.data.Dataset:
        elements = source.elements(seed, tf.constant(position, tf.int64))
        return tf.data.Dataset.zip({'element': elements})

    def decode(_: Item, image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {'image': encode(image), 'fault': tf.constant('')}

    def blank(_: Item, image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {'image': nothing, 'fault': image if image.dtype == tf.string else ''}

    examples = decode_in_order(
        items_from(start),
        source,
        decode,
        blank=blank if config.data.on_error == 'skip' else None,
        num_threads=num_threads,
    )
    examples = examples.with_options(make_options(num_threads))
    position = start
    try:
        for example in examples.as_numpy_iterator():
            yield example
            position += 1
    except tf.errors.OpError as error:
        raise explain(items_from(position).take(1), source, decode, error) from None


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
        check_labels({key: example[key].reshape(1) for key in ('id', 'label')}, source)
        record = b''
        if example['mask']:
            record = serialize(features, example['image'], example['label'])
            writer.write(record)
        else:
            fault = decoding.describe_fault(example['fault'])
            writer.leave_out(source.name(int(example['id'])), fault)
        progress.add(len(record))
