"""Opening of a split of the config's data set as a `Source`."""

from ml_collections import ConfigDict

from resnet_jax.data.source import Source
from resnet_jax.data.sources import tfds
from resnet_jax.data.sources.digits import load_digits
from resnet_jax.data.sources.folder import load_folder


def load_source(config: ConfigDict, split: str) -> Source:
    """Opens a split of the config's data set.

    Args:
      config: a complete config; `data` is read.
      split: name of the split in the data set, such as `config.data.train_split`.

    Raises:
      InputError: if the data is missing or is not what the config says.
    """
    load = {'digits': load_digits, 'tfds': tfds.load_tfds, 'folder': load_folder}
    return load[config.data.source](config, split)
