"""ResNet-20 v2 on CIFAR-10: 6n+2 layers, basic blocks.

The recipe is that of He et al. 2016 (arXiv:1603.05027).
"""

from resnet_jax.config import data_sets, schema


def get_config(data='cifar10'):
    config = schema.get_config()
    config.model.depth = 20
    config.model.variant = 'timm'
    config.model.width = 16
    config.model.dtype = 'float32'
    config.optimizer.nesterov = False
    config.optimizer.decay_all_parameters = True
    return data_sets.use_data(config, data)
