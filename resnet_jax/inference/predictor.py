"""Predictor: the most probable classes of images."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import jax
import numpy as np

from resnet_jax.checkpoints.trained_network import TrainedNetwork
from resnet_jax.config.ranges import RANGES
from resnet_jax.data import preprocessing
from resnet_jax.errors import InputError
from resnet_jax.types import Prediction

MAX_BATCH_SIZE = 64

_, MAX_CLASSES = RANGES['model.num_classes']
"""Greatest `top_k`."""

Image = str | Path | bytes | np.ndarray
"""Path or content of an image file, or uint8 `[H, W]` or `[H, W, 3]` of any size."""


class Predictor:
    """Predicts the classes of images, with the same preprocessing as evaluation.

    Args:
      trained: network, weights and class names.
    """

    def __init__(self, trained: TrainedNetwork):
        self.class_names = trained.class_names
        self._size = trained.config.data.image_size
        self._variables = trained.model_variables()
        self._read = preprocessing.make_image_reader(trained.config)

        def compute_probabilities(variables: dict, images: jax.Array) -> jax.Array:
            return jax.nn.softmax(trained.model.compute_logits(variables, images))

        self._compute_probabilities = jax.jit(compute_probabilities)

    def predict(self, images: Sequence[Image], top_k: int = 5) -> list[list[Prediction]]:
        """Returns the `top_k` most probable classes of each image, most probable first.

        Args:
          images: paths or contents of image files, or uint8 arrays `[H, W]` or `[H, W, 3]` of any
            size.
          top_k: number of predictions for each image, from 1 to `MAX_CLASSES`; there are fewer if
            the network has fewer classes.

        Raises:
          InputError: if an image cannot be read; names the image and the reason. Also if `top_k` is
            out of range.
        """
        if isinstance(images, str | Path | bytes):
            raise InputError('images: expected a list of images, found a single one; write [image]')
        predictions = []
        for result in self.predict_each(images, top_k):
            if isinstance(result, InputError):
                raise result
            predictions.append(result)
        return predictions

    def predict_each(
        self, images: Iterable[Image], top_k: int = 5
    ) -> Iterator[list[Prediction] | InputError]:
        """Yields what `predict` returns for each image, or the error if it cannot be read.

        The images are read and predicted in batches of `MAX_BATCH_SIZE`, so the memory does not
        depend on their number.

        Raises:
          InputError: if `top_k` is out of range.
        """
        if not 1 <= top_k <= MAX_CLASSES:
            raise InputError(f'top_k = {top_k}: expected at least 1 and at most {MAX_CLASSES:,}')
        remaining = iter(images)
        while batch := list(itertools.islice(remaining, MAX_BATCH_SIZE)):
            contents = [self._try_to_read(image) for image in batch]
            pixels = [content for content in contents if isinstance(content, np.ndarray)]
            probabilities = iter(self._probabilities(np.stack(pixels)) if pixels else ())
            for content in contents:
                if isinstance(content, InputError):
                    yield content
                else:
                    yield self._rank(next(probabilities), top_k)

    def _try_to_read(self, image: Image) -> np.ndarray | InputError:
        """Returns uint8 `[S, S, 3]`, or the error if the image cannot be read."""
        try:
            return self._read(image)
        except InputError as error:
            return error

    def _probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Returns float32 `[N, C]` for uint8 `[N, S, S, 3]`.

        The batch is padded to a power of two, so that only a few batch sizes are compiled.
        """
        padded_size = 1 << (len(pixels) - 1).bit_length()
        padded = np.zeros((padded_size, *pixels.shape[1:]), np.uint8)
        padded[: len(pixels)] = pixels
        return np.asarray(self._compute_probabilities(self._variables, padded))[: len(pixels)]

    def _rank(self, probabilities: np.ndarray, top_k: int) -> list[Prediction]:
        """Returns the `top_k` most probable classes for the probabilities `[C]` of one image."""
        named = probabilities[: len(self.class_names)]
        order = np.argsort(-named, kind='stable')[:top_k]
        return [
            Prediction(int(index), self.class_names[index], float(probabilities[index]))
            for index in order
        ]
