"""Padding of batches."""

import numpy as np

from resnet_jax.types import Batch


def blank_batch(batch_size: int, image_size: int) -> Batch:
    """Returns a batch of padding alone, with which a step can be compiled before there are data."""
    return pad_batch(empty_batch(image_size), batch_size)


def empty_batch(size: int) -> Batch:
    return {
        'image': np.zeros((0, size, size, 3), np.uint8),
        'label': np.zeros(0, np.int32),
        'mask': np.zeros(0, bool),
        'id': np.zeros(0, np.int64),
    }


def pad_batch(batch: Batch, batch_size: int) -> Batch:
    """Fills a batch up to `batch_size` rows with rows whose mask is False and whose id is -1."""
    missing = batch_size - len(batch['label'])
    if not missing:
        return batch
    padded = {
        key: np.concatenate([array, np.zeros((missing, *array.shape[1:]), array.dtype)])
        for key, array in batch.items()
    }
    padded['id'][-missing:] = -1
    return padded
