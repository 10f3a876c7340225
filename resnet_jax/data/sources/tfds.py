"""TFDS data sets as sources, prepared by TFDS or by the command `prepare`.

Their examples are records in TFRecord files, which can only be read from the beginning.
"""

import os
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from ml_collections import ConfigDict

from resnet_jax.data import class_names
from resnet_jax.data.file_names import printable
from resnet_jax.data.order import record_elements
from resnet_jax.data.source import Source
from resnet_jax.errors import InputError


def load_tfds(config: ConfigDict, split: str, dir_option: str) -> Source:
    """Opens a split whose images are JPEGs, PNGs or uint8 pixels `[H, W, 3]`, without decoding.

    The arguments are those of `registry.load_source`.
    """
    import tensorflow_datasets as tfds

    info = _prepared_builder(config, dir_option).info
    keys = image_key, label_key = _supervised_keys(info)
    try:
        files = info.splits[split].file_instructions
    except (KeyError, ValueError):
        raise InputError(
            f'split {split!r} of {info.name}: expected one of {", ".join(info.splits)}, or a '
            f"slice such as '{next(iter(info.splits))}[:90%]'"
        ) from None
    if not files:
        raise InputError(
            f'split {split!r} of {info.name}: expected at least one example, found none; choose '
            'another split'
        )
    _require_tfrecord(info)
    ends = np.cumsum([file.take for file in files])
    # Image and label are parsed separately, because reading a label must not copy the image.
    parts = {key: tfds.features.FeaturesDict({key: info.features[key]}) for key in keys}
    encoded = isinstance(info.features[image_key], tfds.features.Image)
    decoders = {image_key: tfds.decode.SkipDecoding()} if encoded else {}

    def parse(element: dict[str, tf.Tensor], key: str) -> tf.Tensor:
        skipped = {k: decoders[k] for k in decoders if k == key}
        return parts[key].deserialize_example(element['record'], decoders=skipped)[key]

    def name(index: int) -> str:
        file = int(np.searchsorted(ends, index, side='right'))
        record = index - int(ends[file]) + files[file].take + files[file].skip
        return f'record {record} of {files[file].filename}'

    return Source(
        num_examples=sum(file.take for file in files),
        class_names=class_names.describe(info.features[label_key].names),
        elements=record_elements(files, config.data.shuffle_group_files),
        identify=lambda element: {
            'id': element['id'],
            'label': tf.cast(parse(element, label_key), tf.int32),
        },
        load_image=lambda element: parse(element, image_key),
        name=name,
        is_indexed=False,
    )


def _prepared_builder(config: ConfigDict, dir_option: str) -> Any:
    import tensorflow_datasets as tfds

    name, folder = config.data.name, os.path.expanduser(config.data.dir)  # noqa: PTH111
    if ':' in name:  # TFDS downloads and runs the code of a data set with a namespace
        raise InputError(
            f'config.data.name = {name!r}: expected a data set without a namespace; prepare it '
            f'with TFDS, and name its folder with --{dir_option}'
        )
    data_dir = folder or tfds.core.constants.DATA_DIR
    try:
        builder = _builder_from_files(name, folder) or tfds.builder(name, data_dir=folder or None)
    except (tfds.core.registered.DatasetNotFoundError, ValueError) as error:
        reason = str(error).strip().split('\n')[0]
        raise InputError(
            f'config.data.name = {name!r}: expected a data set that TFDS knows or that is '
            f'prepared in {printable(data_dir)}, found none: {reason}'
        ) from None
    except json_format.ParseError as error:
        reason = str(error).strip().split('\n')[0]
        raise InputError(
            f'{name}: expected the description of a TFDS data set in {data_dir}, found a damaged '
            f'one: {reason}; prepare the data set again'
        ) from None
    if not builder.info.splits:
        raise InputError(_not_prepared(name, printable(data_dir), dir_option))
    return builder


def _builder_from_files(name: str, folder: str) -> Any:
    """Returns the data set in `folder` with the features in its files, not those in TFDS's code."""
    from tensorflow_datasets.core import read_only_builder, registered

    try:
        return read_only_builder.builder_from_files(name, data_dir=folder) if folder else None
    except registered.DatasetNotFoundError:
        return None


def _not_prepared(name: str, data_dir: str, dir_option: str) -> str:
    """Returns the message for a data set that is not prepared, with instructions."""
    archives = ''
    if name == 'imagenet2012':
        archives = (
            '  1. Get ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar from image-net.org\n'
            f'     and put them into {data_dir}/downloads/manual\n'
        )
    number = 2 if archives else 1
    return (
        f'{name}: expected a data set prepared by TFDS in {data_dir}, found nothing there. If it '
        f'is in another folder, name that one with --{dir_option}. Else prepare it once:\n'
        f'{archives}'
        f'  {number}. tfds build {name} --data_dir={data_dir}\n'
        "To train without a download, use scikit-learn's digits: "
        '--config=configs/resnet18.py:digits'
    )


def _supervised_keys(info: Any) -> tuple[str, str]:
    """Returns the names of the image and the label in TFDS's description of a data set.

    A description that does not name them must have exactly one image and one class.
    """
    import tensorflow_datasets as tfds

    keys = info.supervised_keys
    kinds = (_is_image, lambda feature: isinstance(feature, tfds.features.ClassLabel))
    if keys is None:
        names = [[k for k, f in info.features.items() if is_kind(f)] for is_kind in kinds]
        keys = tuple(candidates[0] for candidates in names if len(candidates) == 1)
    features = [info.features[key] for key in keys if key in info.features]
    if len(features) != 2 or not all(map(lambda is_kind, f: is_kind(f), kinds, features)):
        raise InputError(
            f'config.data.name = {info.name!r}: expected a data set for image classification '
            f'(supervised keys of an image and a class), found {keys}'
        )
    return keys


def _is_image(feature: Any) -> bool:
    """Says whether a feature is an encoded image, or pixels (from `prepare --encoding=raw`)."""
    import tensorflow_datasets as tfds

    if isinstance(feature, tfds.features.Image):
        return True
    shape = feature.shape
    is_tensor = isinstance(feature, tfds.features.Tensor) and feature.np_dtype == np.uint8
    return is_tensor and len(shape) == 3 and shape[-1] == 3


def _require_tfrecord(info: Any) -> None:
    if info.file_format.value != 'tfrecord':
        raise InputError(
            f'{info.name}: expected files in the format tfrecord, found {info.file_format.value}; '
            'prepare the data set again with --file_format=tfrecord'
        )
