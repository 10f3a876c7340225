"""Preparation of a data set: its images stored again, smaller, as a TFDS data set.

The prepared data set is faster to read than the original. Its files are written one after the other
in `<output>/unfinished`; when all are written, the folder gets its final name. A preparation that
was stopped or killed continues after the last finished file, and the result is byte for byte that
of an uninterrupted one.
"""

import contextlib
import dataclasses
import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf
from ml_collections import ConfigDict

from resnet_jax.config import checks
from resnet_jax.config.data_set_name import data_set_name
from resnet_jax.console.progress import Progress
from resnet_jax.console.signals import StopRequest
from resnet_jax.console.terminal import Terminal
from resnet_jax.data import decoding
from resnet_jax.data.parallel_decoding import (
    Item,
    check_labels,
    count_cores,
    decode_in_order,
    explain,
    make_options,
)
from resnet_jax.data.preparation import record_files
from resnet_jax.data.preparation.encoding import Encoding, create_features, make_encoder, serialize
from resnet_jax.data.preparation.output_folder import (
    finish,
    open_folder,
    prepared_name,
    require_same_settings,
    require_space,
)
from resnet_jax.data.preparation.record_files import FileWriter
from resnet_jax.data.source import Source
from resnet_jax.data.sources import registry
from resnet_jax.errors import InputError, Stopped
from resnet_jax.storage.files import locked

FILE_BYTES = 2**27
"""Approximate size of a file in bytes. Training shuffles the records of a few files in memory."""


def prepare(
    config: ConfigDict,
    output: Path,
    encoding: Encoding,
    screen: Terminal,
    request: StopRequest,
) -> None:
    """Writes the splits of a config's data set to `output`.

    Read the result with `config.data.source = 'tfds'` and `config.data.dir = output`. Splits that
    can be read at any index (digits, folders) are stored in a fixed random order, which mixes the
    classes; other splits keep their order. If `config.data.on_error` is 'skip', images that cannot
    be decoded are left out and listed in `bad_images.csv`.

    Args:
      config: a valid config; `data` is read.
      output: a new or empty folder, or that of an unfinished preparation with the same settings,
        which is continued.
      encoding: format in which images are stored.
      screen: terminal that shows the progress.
      request: request to stop; checked before each image.

    Raises:
      InputError: if the data or the folder is not as expected, or if an image cannot be decoded and
        `config.data.on_error` is not 'skip'.
      RunFailed: if the data cannot be read or the files cannot be written.
      Stopped: if `request` says so; finished files are kept.
    """
    splits = {split: registry.load_source(config, split) for split in _whole_splits(config)}
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
        settings = _settings(config, encoding, splits)
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
    """Returns the whole splits that the config uses parts of: 'train' for 'train[:90%]'."""
    parts = f'{config.data.train_split}+{config.data.validation_split}'.split('+')
    splits = list(dict.fromkeys(part.partition('[')[0].strip() for part in parts))
    for split in splits:
        if split == 'all' or not re.fullmatch(r'[\w-]+', split, re.ASCII):
            raise InputError(
                f'split {split!r}: expected a name that TFDS can read: letters, digits, _ and -, '
                "and not 'all'; rename the split"
            )
    return splits


def _require_same_classes(config: ConfigDict, splits: dict[str, Source]) -> tuple[str, ...]:
    """Returns the names of the classes, after a check that all splits have the same ones."""
    (first_name, first), *others = splits.items()
    for name, source in others:
        where = f'splits {first_name!r} and {name!r}'
        checks.validate_classes(config, first.class_names, source.class_names, where=where)
    return first.class_names


def _file_prefix(config: ConfigDict) -> str:
    """Returns the beginning of the files' names: the data set's name without TFDS's config."""
    name = prepared_name(config)
    if not re.fullmatch(r'[a-z][a-z0-9_]*(/[\w.-]+)?', name, re.ASCII) or name.endswith('.'):
        raise InputError(
            f'config.data.name = {name!r}: expected a name for the new TFDS data set: a lower-case '
            'letter, then lower-case letters, digits or _; choose another name'
        )
    return name.partition('/')[0]


def _settings(config: ConfigDict, encoding: Encoding, splits: dict[str, Source]) -> dict[str, Any]:
    """Returns the settings that determine the records; a continued preparation must keep them."""
    return {
        'made_from': f'{config.data.source} {data_set_name(config)}',
        'num_positions': {split: source.num_examples for split, source in splits.items()},
        'interpolation': config.data.validation_interpolation,
        'exif_orientation': config.data.exif_orientation,
        **dataclasses.asdict(encoding),
    }


def _encoded_examples(
    source: Source, config: ConfigDict, encoding: Encoding, start: int
) -> Generator[dict[str, Any], None, None]:
    """Yields a source's examples from position `start` on, with encoded images.

    An example has id, label, mask, image and `stored`: the stored bytes of an image that cannot be
    decoded, and else ''.
    """
    num_threads = config.data.num_threads or count_cores()
    encode = make_encoder(encoding, config)
    seed = tf.zeros(2, tf.int64) if source.is_indexed else None
    no_image = '' if encoding.kind == 'jpeg' else tf.zeros([1, 1, 3], tf.uint8)

    def items_from(position: int) -> tf.data.Dataset:
        elements = source.elements(seed, tf.constant(position, tf.int64))
        return tf.data.Dataset.zip({'element': elements})

    def decode(_: Item, image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {'image': encode(image), 'stored': tf.constant('')}

    def blank(_: Item, image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {'image': no_image, 'stored': image if image.dtype == tf.string else ''}

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
    """Writes the next `writer.file.num_positions` examples.

    Args:
      writer: writer of the file.
      examples: encoded examples, from the file's first one on.
      source: the source of the examples.
      features: TFDS's description of the examples.
      request: request to stop; checked before each image.
      progress: display of the progress.

    Raises:
      InputError: if an example is missing, or if its label is outside the classes.
      Stopped: if `request` says so.
    """
    for _ in range(writer.file.num_positions):
        if request.signal is not None:
            message = 'stopped; finished files are kept, and the same command continues after them'
            raise Stopped(request.signal, message)
        example = next(examples, None)
        if example is None:
            raise InputError(
                f'split {writer.file.split!r}: expected {source.num_examples} examples, found '
                'fewer: the data set does not match its description; prepare it again'
            )
        check_labels(example['id'].reshape(1), example['label'].reshape(1), source)
        record = b''
        if example['mask']:
            record = serialize(features, example['image'], example['label'])
            writer.write(record)
        else:
            fault = decoding.describe_fault(example['stored'])
            writer.leave_out(source.name(int(example['id'])), fault)
        progress.add(len(record))
