"""ResNet-18 v2 on ImageNet with the recipe that Microsoft published in 2016 for R and MXNet.

Two settings are uncertain. The batch size is 144 in the figure of the blog post, but 512 in its
script. The post has two schedules, and it is unclear which one the figure shows: a factor of 0.94
after each epoch, which is used here, or drops at chosen epochs.

Two things differ. In 2016, the images were stored as 256 px squares with JPEG quality 90; here, the
original files are cropped to the same square. MXNet multiplied the gradient by the learning rate
before it entered the momentum; here, the learning rate multiplies the result of the momentum. This
makes a difference only in the few steps after a change of the learning rate.
"""

from resnet_jax.config import data_sets, schema


def get_config(data='imagenet2012'):
    config = schema.get_config()
    config.batch_size = 144
    config.model.depth = 18
    config.model.variant = 'mxnet'  # batch norm: epsilon 2e-5, momentum 0.9, statistics per GPU
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
