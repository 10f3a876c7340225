"""Epochs: the number of steps and the image size of each."""

from ml_collections import ConfigDict

from resnet_jax.errors import InputError


def compute_steps_per_epoch(num_examples: int, batch_size: int) -> int:
    """Returns the number of whole batches in an epoch; the remaining examples are dropped.

    Raises:
      InputError: if there are fewer examples than a batch needs.
    """
    if num_examples < batch_size:
        raise InputError(
            f'config.batch_size = {batch_size}: expected at most the {num_examples} examples of '
            'the training split; choose a smaller batch size'
        )
    return num_examples // batch_size


def compute_image_sizes(config: ConfigDict) -> list[int]:
    """Returns the side of the training images in px for each epoch, by `data.size_schedule`."""
    sizes = [config.data.image_size] * config.num_epochs
    for first_epoch, size in sorted(config.data.size_schedule):
        sizes[first_epoch:] = [size] * len(sizes[first_epoch:])
    return sizes
