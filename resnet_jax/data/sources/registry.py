"""Opening of a split of the config's data set as a `Source`."""

from ml_collections import ConfigDict

from resnet_jax.config.plain_text import find_refused
from resnet_jax.data.source import Source
from resnet_jax.data.sources import tfds
from resnet_jax.data.sources.digits import load_digits
from resnet_jax.data.sources.folder import load_folder
from resnet_jax.errors import InputError


def load_source(config: ConfigDict, split: str, *, dir_option: str = 'config.data.dir') -> Source:
    """Opens a split of the config's data set.

    Args:
      config: a complete config; `data` is read.
      split: name of the split in the data set, such as `config.data.train_split`.
      dir_option: name of the option with which the user chooses the folder of the data, for
        messages.

    Raises:
      InputError: if the data is missing or is not what the config says.
    """
    if config.data.source == 'digits':
        source = load_digits(config, split)
    else:
        load = {'tfds': tfds.load_tfds, 'folder': load_folder}[config.data.source]
        source = load(config, split, dir_option)
    _require_plain_names(source.class_names, config, split)
    return source


def _require_plain_names(class_names: tuple[str, ...], config: ConfigDict, split: str) -> None:
    """Checks that each class name is one line of text, because `class_names.txt` holds it as one.

    Raises:
      InputError: if a name has a character that plain text lacks.
    """
    for name in class_names:
        refused = find_refused(name)
        if refused:
            place = f' (folder {name!r} in {config.data.dir!r})'
            raise InputError(
                f'split {split!r}: expected class names of one line of text, found {name!r} with a '
                f'{refused}; rename the class{place if config.data.source == "folder" else ""}'
            )
