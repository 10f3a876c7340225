"""A figure of images and what is seen in them, gathered one by one."""

from collections.abc import Sequence
from pathlib import Path

from resnet_jax.data import preprocessing
from resnet_jax.errors import InputError
from resnet_jax.reports.figures.predictions import (
    IMAGE_SIDE,
    MAX_IMAGES,
    PredictedImage,
    draw_predictions,
)
from resnet_jax.storage.files import write_bytes
from resnet_jax.types import Prediction


class PredictionFigure:
    """Images with bars for their five most probable classes, as a PNG.

    Args:
      path: of the file.
      num_images: that may be added.

    Raises:
      InputError: when they are too many for a figure.
    """

    def __init__(self, path: str | Path, num_images: int):
        if num_images > MAX_IMAGES:
            raise InputError(
                f'--figure={path}: expected at most {MAX_IMAGES} images, found '
                f'{num_images}; leave the figure out, or draw several'
            )
        self._path = Path(path)
        self._read = preprocessing.make_view_reader(IMAGE_SIDE)
        self._images: list[PredictedImage] = []

    def add(self, image: str | Path, predictions: Sequence[Prediction]) -> None:
        """Adds an image, given as a path.

        Raises:
          InputError: when it cannot be read.
        """
        pixels = self._read(image)
        self._images.append(PredictedImage(Path(image).name, pixels, predictions))

    def save(self) -> None:
        """Replaces the file, whole or not at all; without an image it stays as it is.

        Raises:
          RunFailed: when it cannot be written.
        """
        if self._images:
            write_bytes(self._path, draw_predictions(self._images))
