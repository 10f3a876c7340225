"""Padding of batches to a fixed number of rows."""

import numpy as np

from resnet_jax.types import Batch


def blank_batch(batch_size: int, image_size: int) -> Batch:
    """Returns a batch of padding only, to compile a step before there is data."""
    return pad_batch(empty_batch(image_size), batch_size)


def empty_batch(size: int) -> Batch:
    """Returns a batch without rows, for images of `size` px."""
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

    def pad(array: np.ndarray, fill: int = 0) -> np.ndarray:
        padding = np.full((missing, *array.shape[1:]), fill, array.dtype)
        return np.concatenate([array, padding])

    return {
        'image': pad(batch['image']),
        'label': pad(batch['label']),
        'mask': pad(batch['mask']),
        'id': pad(batch['id'], -1),
    }
