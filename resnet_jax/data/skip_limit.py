"""Limit for the images that are skipped because they cannot be decoded."""

from collections.abc import Sequence

from ml_collections import ConfigDict

from resnet_jax.data.source import Source
from resnet_jax.errors import RunFailed

NUM_NAMED = 3  # images in the message


def require_few_skipped(
    ids: Sequence[int], num_images: int, source: Source, config: ConfigDict, *, where: str
) -> None:
    """Checks the number of skipped images against `config.data.max_skipped_fraction`.

    Args:
      ids: ids of the images that were skipped so far.
      num_images: number of images of the whole epoch or evaluation.
      source: the source of the images.
      config: a complete config.
      where: the epoch or evaluation, for the message.

    Raises:
      RunFailed: if more than the fraction was skipped, or everything.
    """
    limit = config.data.max_skipped_fraction
    if len(ids) <= limit * num_images and len(ids) < num_images:
        return
    names = ', '.join(source.name(int(index)) for index in ids[:NUM_NAMED])
    raise RunFailed(
        f'{where}: expected at most {limit:.4g} of the {num_images:,} images to be skipped '
        f'(config.data.max_skipped_fraction), found {len(ids):,} so far that cannot be decoded: '
        f'{names}{", ..." if len(ids) > NUM_NAMED else ""}. Replace or delete the bad images'
        + ('' if len(ids) == num_images else ', or allow more of them')
    )
