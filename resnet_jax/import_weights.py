"""Command that creates the folder of a run from published weights.

python -m resnet_jax.import_weights --format=timm --weights=FILE --workdir=DIR [--config=FILE]
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags as absl_flags

from resnet_jax.config import flags

_FORMAT = absl_flags.DEFINE_string(
    'format',
    None,
    'Format of the file: mxnet, timm, keras, or resnet_jax for a file that export wrote.',
    required=True,
)
_WEIGHTS = flags.define_path(
    'weights', None, 'File of weights: .params, .safetensors, .h5 or .keras.', required=True
)
_WORKDIR = flags.define_path('workdir', None, 'New folder for the run.', required=True)
_CONFIG = flags.define_config(required=False)


def main(arguments: Sequence[str]) -> None:
    """Imports a file of weights, and prints a description of its network."""
    flags.require_no_arguments(arguments)
    from resnet_jax.console import terminal
    from resnet_jax.training import imported_run

    terminal.set_up_logging()
    folder = Path(_WORKDIR.value)
    imported = imported_run.import_weights(
        _FORMAT.value, Path(_WEIGHTS.value), folder, _CONFIG.value
    )
    print(f'{folder}: {imported.description}')


if __name__ == '__main__':
    flags.run(main)
