"""Config of a small run on digits, and PNG encoding of images to predict."""

import io

import PIL.Image

from resnet_jax.config import data_sets, schema


def make_config():
    config = data_sets.use_data(schema.get_config(), 'digits')
    config.num_epochs = 3
    config.batch_size = 256
    config.model.depth = 8
    config.model.width = 4
    config.ema_decay = 0.5
    config.schedule.name = 'step'
    config.schedule.boundaries_epochs = (2,)
    config.schedule.warmup_epochs = 1.0
    return config


def as_png(image):
    file = io.BytesIO()
    PIL.Image.fromarray(image).save(file, 'PNG')
    return file.getvalue()
