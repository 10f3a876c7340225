"""Predictions as text and as lines of JSON."""

import json

from resnet_jax.errors import InputError
from resnet_jax.inference.prediction_text import to_json, to_text
from resnet_jax.types import Prediction

PREDICTIONS = [
    Prediction(281, 'n02123045 tabby, tabby cat', 0.875),
    Prediction(282, 'n02123159 tiger cat', 0.0625),
]


def test_text_has_the_class_and_then_a_line_for_each_prediction():
    assert to_text('cat.jpg', PREDICTIONS) == (
        'cat.jpg: n02123045 tabby, tabby cat\n'
        '  1   87.50%  n02123045 tabby, tabby cat\n'
        '  2    6.25%  n02123159 tiger cat'
    )


def test_json_is_one_line_with_numbers():
    line = to_json('cat.jpg', PREDICTIONS)
    assert '\n' not in line
    assert json.loads(line) == {
        'image': 'cat.jpg',
        'predictions': [
            {'index': 281, 'class': 'n02123045 tabby, tabby cat', 'probability': 0.875},
            {'index': 282, 'class': 'n02123159 tiger cat', 'probability': 0.0625},
        ],
    }


def test_the_error_of_an_image_is_a_line_of_json_too():
    line = to_json('cat.jpg', InputError('cat.jpg: it is empty'))
    assert json.loads(line) == {'image': 'cat.jpg', 'error': 'cat.jpg: it is empty'}


def test_a_name_that_is_not_utf8_can_be_printed():
    name = b'caf\xe9.jpg'.decode(errors='surrogateescape')
    to_text(name, PREDICTIONS).encode()
    assert json.loads(to_json(name, PREDICTIONS))['image'] == name
    to_json(name, PREDICTIONS).encode()
