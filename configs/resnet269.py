"""ResNet-269 v2 on ImageNet, with the recipe of `configs/resnet18.py`."""

from resnet_jax.config import data_sets, schema


def get_config(data='imagenet2012'):
    config = schema.get_config()
    config.model.depth = 269
    return data_sets.use_data(config, data)
