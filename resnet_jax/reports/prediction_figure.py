"""Figure of images with their predictions, collected image by image and saved as a PNG."""

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
from resnet_jax.storage.files import require_regular, write_bytes
from resnet_jax.types import Prediction


class PredictionFigure:
    """Images with bars for their five most probable classes, as a PNG file.

    Args:
      path: path of the PNG file.
      num_images: number of images that are to be added.
      exif_orientation: whether images are turned as their EXIF orientation says.

    Raises:
      InputError: if there are too many images for one figure, or if the path exists and is not a
        regular file.
    """

    def __init__(self, path: str | Path, num_images: int, *, exif_orientation: bool = False):
        if num_images > MAX_IMAGES:
            raise InputError(
                f'--figure={path}: expected at most {MAX_IMAGES} images, found '
                f'{num_images}; omit --figure, or draw several figures'
            )
        self._path = Path(path)
        require_regular(self._path)
        self._read = preprocessing.make_view_reader(IMAGE_SIDE, exif_orientation=exif_orientation)
        self._images: list[PredictedImage] = []

    def add(self, image: str | Path, predictions: Sequence[Prediction]) -> None:
        """Adds an image.

        Args:
          image: path of the image.
          predictions: its predictions, most probable first.

        Raises:
          InputError: if the image cannot be read.
        """
        pixels = self._read(image)
        self._images.append(PredictedImage(Path(image).name, pixels, predictions))

    def save(self) -> None:
        """Writes the file atomically; does nothing if no image was added.

        Raises:
          RunFailed: if the file cannot be written.
        """
        if self._images:
            write_bytes(self._path, draw_predictions(self._images))
