"""Scikit-learn's handwritten digits as a source; they need no download."""

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from resnet_jax.data.order import indexed_elements
from resnet_jax.data.source import Source
from resnet_jax.errors import InputError


def load_digits(config: ConfigDict, split: str) -> Source:
    """Opens a split of the 1797 digits of 8x8 px: 1437 for training, 360 for validation."""
    from sklearn import datasets, model_selection

    digits = datasets.load_digits()
    levels = np.round(digits.images * (255 / 16)).astype(np.uint8)
    images = np.repeat(levels[..., None], 3, axis=-1)
    labels = digits.target.astype(np.int32)
    train, validation = model_selection.train_test_split(
        np.arange(len(labels)), test_size=360, stratify=labels, random_state=0
    )
    splits = {'train': train, 'validation': validation}
    if split not in splits:
        raise InputError(f'split {split!r} of digits: expected one of {", ".join(splits)}')
    images, labels = tf.constant(images[splits[split]]), tf.constant(labels[splits[split]])
    return Source(
        num_examples=len(labels),
        class_names=tuple(str(digit) for digit in range(10)),
        elements=indexed_elements(len(labels)),
        identify=lambda index: {'id': index, 'label': labels[index]},
        load_image=lambda index: images[index],
        name=lambda index: f'example {index} of the digits, split {split}',
        is_indexed=True,
    )
