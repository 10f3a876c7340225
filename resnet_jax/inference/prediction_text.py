"""Predictions for an image as text and as JSON."""

import json
from collections.abc import Sequence

from resnet_jax.data.file_names import printable
from resnet_jax.errors import InputError
from resnet_jax.types import Prediction


def to_text(image: str, predictions: Sequence[Prediction]) -> str:
    """Returns a line with the image and its first class, and a line for each prediction."""
    lines = [f'{printable(image)}: {predictions[0].name}']
    lines += [f'  {rank}  {p.probability:7.2%}  {p.name}' for rank, p in enumerate(predictions, 1)]
    return '\n'.join(lines)


def to_json(image: str, result: Sequence[Prediction] | InputError) -> str:
    """Returns a line of JSON.

    Args:
      image: path of the image.
      result: its predictions, or the error if it cannot be read.
    """
    if isinstance(result, InputError):
        return json.dumps({'image': image, 'error': str(result)})
    names = ('index', 'class', 'probability')
    predictions = [dict(zip(names, prediction, strict=True)) for prediction in result]
    return json.dumps({'image': image, 'predictions': predictions})
