"""ResNet-20 v2 on CIFAR-10, 6n+2, basic blocks; recipe of He et al. 2016 (arXiv:1603.05027)."""

from resnet_jax import base_config


def get_config(data='cifar10'):
    config = base_config.get_config()
    config.model.depth = 20
    config.model.variant = 'timm'
    config.model.width = 16
    config.model.dtype = 'float32'
    config.optimizer.nesterov = False
    config.optimizer.decay_all_parameters = True
    return base_config.use_data(config, data)
