"""Predictor: the most probable classes of images."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from resnet_jax.checkpoints.trained_network import TrainedNetwork
from resnet_jax.data import preprocessing
from resnet_jax.errors import InputError
from resnet_jax.types import Prediction

MAX_BATCH_SIZE = 64


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

    def predict(
        self, images: Sequence[str | Path | bytes | np.ndarray], top_k: int = 5
    ) -> list[list[Prediction]]:
        """Returns the `top_k` most probable classes of each image, most probable first.

        Args:
          images: paths, encoded JPEG or PNG bytes, or uint8 arrays `[H, W]` or `[H, W, 3]` of
            any size.
          top_k: number of predictions for each image, at least 1; there are fewer if the network
            has fewer classes.

        Raises:
          InputError: if an image cannot be read; names the image and the reason.
        """
        if isinstance(images, str | Path | bytes):
            raise InputError('images: expected a list of images, found a single one; write [image]')
        if top_k < 1:
            raise InputError(f'top_k = {top_k}: expected at least 1')
        predictions = []
        for start in range(0, len(images), MAX_BATCH_SIZE):
            pixels = np.stack([self._read(image) for image in images[start:][:MAX_BATCH_SIZE]])
            predictions += [self._rank(row, top_k) for row in self._probabilities(pixels)]
        return predictions

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
