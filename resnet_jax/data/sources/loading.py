"""Where examples come from: the embedded digits, TFDS, or a folder of images."""

from ml_collections import ConfigDict

from resnet_jax.data.source import Source
from resnet_jax.data.sources import tfds
from resnet_jax.data.sources.digits import load_digits
from resnet_jax.data.sources.folder import load_folder


def load_source(config: ConfigDict, split: str) -> Source:
    """Opens a split of the config's data set.

    Args:
      config: a whole config; `data` is read.
      split: a split's name as the data set has it, such as `config.data.train_split`.

    Raises:
      InputError: when the data is not there or not as described, with what to do about it.
    """
    load = {'digits': load_digits, 'tfds': tfds.load_tfds, 'folder': load_folder}
    return load[config.data.source](config, split)
