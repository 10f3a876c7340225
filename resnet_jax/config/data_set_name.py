"""Name of a config's data set, for titles and messages."""

import os

from ml_collections import ConfigDict

from resnet_jax.config.data_sets import DATA_SETS


def data_set_name(config: ConfigDict) -> str:
    """Returns `config.data.name`, or for a folder of images the folder's own name.

    A folder for which the user has chosen another name than that of a known data set has this name.
    A byte of the folder's name that is not UTF-8 becomes a question mark.

    Args:
      config: complete config, of which `data` is read.
    """
    data = config.data
    if data.source != 'folder' or data.name not in {'', *DATA_SETS}:
        return data.name or data.source
    path = os.path.abspath(os.path.expanduser(data.dir))  # noqa: PTH100, PTH111
    return os.path.basename(path).encode('utf-8', 'replace').decode() or data.source  # noqa: PTH119
