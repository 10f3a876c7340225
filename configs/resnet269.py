"""ResNet-269 v2 on ImageNet, with the recipe of configs/resnet18.py."""

from resnet_jax import base_config


def get_config(data='imagenet2012'):
    config = base_config.get_config()
    config.model.depth = 269
    return base_config.use_data(config, data)
