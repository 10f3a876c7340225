"""Configs as JSON: written and read."""

import json
import os

import pytest
from support.configs import CONFIGS, digits_config, load

from resnet_jax.config import schema, serialization
from resnet_jax.errors import InputError


@pytest.mark.parametrize('name', [path.stem for path in CONFIGS])
def test_a_config_is_the_same_after_writing_and_reading_json(name):
    config = load(name)
    reread = serialization.from_json(serialization.to_json(config), where='config.json')
    fields = schema.flatten(reread)
    assert fields == schema.flatten(config)
    assert {k: type(v) for k, v in fields.items()} == {
        k: type(v) for k, v in schema.flatten(config).items()
    }


def test_json_without_a_field_takes_the_default():
    config = serialization.from_json('{"seed": 3}', where='config.json')
    defaults = schema.flatten(schema.get_config())
    assert schema.flatten(config) == defaults | {'seed': 3, 'best_metric': 'top5'}


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('', 'JSON'),
        ('seed: 0', 'JSON'),
        ('{"seed": 0', 'JSON'),
        ('[1, 2]', 'JSON'),
        ('3', 'JSON'),
        ('null', 'JSON'),
        ('[' * 100_000, 'JSON'),
        ('{"model": ' * 900 + '1' + '}' * 900, 'config'),
        ('{"seed": ' + '[' * 900 + ']' * 900 + '}', 'config'),
        ('{"seed": 1' + '0' * 5000 + '}', 'JSON'),
        ('{"sed": 0}', 'config.sed: there is no such field; did you mean seed'),
        ('{"model": {"dept": 18}}', 'config.model.dept: there is no such field'),
        ('{"model": 18}', 'config.model'),
        ('{"seed": {"x": 1}}', 'config.seed.x'),
        ('{"seed": "0"}', "config.seed = '0': expected a"),
        ('{"seed": null}', 'config.seed = None: expected a'),
        ('{"seed": true}', 'config.seed = True: expected a'),
        ('{"seed": 0.5}', 'config.seed = 0.5: expected a'),
        ('{"optimizer": {"learning_rate": true}}', 'config.optimizer.learning_rate = True'),
        ('{"optimizer": {"learning_rate": NaN}}', 'config.optimizer.learning_rate = nan'),
        ('{"optimizer": {"learning_rate": 1' + '0' * 400 + '}}', 'config.optimizer.learning_rate'),
        ('{"data": {"mean": "abc"}}', "config.data.mean = 'abc'"),
        ('{"data": {"mean": [1, 2]}}', 'config.data.mean = (1, 2)'),
        ('{"batch_size": -4}', 'config.batch_size = -4'),
    ],
    ids=lambda value: value[:30],
)
def test_a_file_that_is_not_a_config_is_refused(text, reason):
    with pytest.raises(InputError) as refusal:
        serialization.from_json(text, where='runs/x/config.json')
    assert reason in str(refusal.value)
    assert str(refusal.value).startswith('runs/x/config.json: ')


def test_a_config_is_written_as_plain_json():
    written = json.loads(serialization.to_json(load('resnet18')))
    assert written['model']['depth'] == 18
    assert written['schedule']['boundaries_epochs'] == [10, 20, 27]


def test_a_path_that_is_not_utf8_is_the_same_after_writing_and_reading():
    path = os.fsdecode(b'/data/\xff\xfe')
    config = digits_config(data__dir=path, initial_weights=path)
    text = serialization.to_json(config)
    assert text.isascii()
    reread = serialization.from_json(text, where='config.json')
    assert (reread.data.dir, reread.initial_weights) == (path, path)
