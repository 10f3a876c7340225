"""ResNet-18 v2 on ImageNet in 30 epochs, the main experiment of this project."""

from resnet_jax.config import data_sets, schema


def get_config(data='imagenet2012'):
    config = schema.get_config()
    config.model.depth = 18
    return data_sets.use_data(config, data)
