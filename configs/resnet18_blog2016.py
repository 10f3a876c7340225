"""The recipe that Microsoft published in 2016 with R and MXNet: ResNet-18 v2 on ImageNet.

What is uncertain: the batch size (144 in the post's figure, 512 in its script); which of its two
schedules the figure shows (0.94 after each epoch, here, or drops at chosen epochs).
What differs: the records of 2016 were 256 px squares stored at JPEG quality 90, these are the
original files, cut to the same square; MXNet multiplied the learning rate into the momentum, here
it multiplies the momentum's result, which matters for the few steps behind a change of rate.
"""

from resnet_jax.config import data_sets, schema


def get_config(data='imagenet2012'):
    config = schema.get_config()
    config.batch_size = 144
    config.model.depth = 18
    config.model.variant = 'mxnet'  # batch norm epsilon 2e-5, momentum 0.9, statistics per GPU
    config.model.dtype = 'float32'
    config.model.kernel_init = 'mxnet_2016'
    config.data.augmentation = 'crop_mirror'
    config.data.std = (1.0, 1.0, 1.0)
    config.optimizer.nesterov = False
    config.optimizer.decay_all_parameters = True
    config.optimizer.gradient_clip = 5.0
    config.optimizer.gradient_clip_kind = 'value'
    config.schedule.name = 'exponential'
    config.schedule.factor = 0.94
    config.keep_checkpoints = 0
    return data_sets.use_data(config, data)
