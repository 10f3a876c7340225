"""ResNet-18 v2 on ImageNet in 30 epochs: the experiment."""

from resnet_jax import base_config


def get_config(data='imagenet2012'):
    config = base_config.get_config()
    config.model.depth = 18
    return base_config.use_data(config, data)
