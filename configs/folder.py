"""ResNet-18 v2 on one's own photographs: a few hundred to a few hundred thousand of them.

The photographs lie in `DIR/<class>/`. A fifth of each class is set aside for evaluation:

    python -m resnet_jax.main --config=configs/folder.py --config.data.dir=DIR --workdir=RUN

To fine-tune the weights of another run, add `--config.initial_weights=THAT_RUN`. For a folder with
splits, `DIR/train/<class>/` and `DIR/validation/<class>/`, add
`--config.data.validation_fraction=0`.
"""

from resnet_jax.config import data_sets, schema


def get_config(data=''):
    config = schema.get_config()
    config.num_epochs = 30
    config.batch_size = 16  # small, so that a few hundred photographs make enough steps
    config.model.depth = 18
    config.model.sync_batch_norm = True  # a device's share of so small a batch is too small
    config.data.source = 'folder'
    config.data.name = ''  # the folder's own name is used
    config.data.validation_fraction = 0.2
    config.data.image_size = 128  # a third of the time of 224 px
    config.data.resize_size = 146
    config.data.augmentation = 'crop_mirror'  # shows most of a photograph, unlike small crops
    config.data.on_error = 'skip'
    config.data.exif_orientation = True
    config.optimizer.learning_rate = 0.01
    config.optimizer.weight_decay = 5e-4
    config.schedule.name = 'cosine'
    config.schedule.warmup_epochs = 3.0
    config.log_every_steps = 10
    return data_sets.use_data(config, data) if data else config
