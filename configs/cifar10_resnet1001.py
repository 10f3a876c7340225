"""ResNet-1001 v2 on CIFAR-10: 9n+2 layers, bottlenecks.

The recipe is that of He et al. 2016 (arXiv:1603.05027).
"""

from resnet_jax.config import data_sets, schema


def get_config(data='cifar10'):
    config = schema.get_config()
    config.model.depth = 1001
    config.model.variant = 'timm'
    config.model.width = 16
    config.model.dtype = 'float32'
    config.model.scan_blocks = True  # compiles in seconds instead of minutes
    config.optimizer.nesterov = False
    config.optimizer.decay_all_parameters = True
    config.schedule.warmup_epochs = 1.0  # in the paper: a lower rate for the first 400 steps
    return data_sets.use_data(config, data)
