"""Command that prepares a data set: resizes its images once, so that training reads them faster.

    python -m resnet_jax.prepare --config=CONFIG --output=DIR

To train on the result, use --config.data.source=tfds --config.data.dir=DIR. If a preparation was
stopped, the same command continues it.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags as absl_flags

from resnet_jax.config import flags

_CONFIG = flags.define_config()
_OUTPUT = flags.define_path('output', None, 'New folder for the data set.', required=True)
_SIZE = absl_flags.DEFINE_integer(
    'size', 256, 'Short side of the images in px.', lower_bound=1, upper_bound=8192
)
_ENCODING = absl_flags.DEFINE_enum(
    'encoding', 'jpeg', ['jpeg', 'raw'], 'JPEG, or raw pixels: larger, and faster to read.'
)
_QUALITY = absl_flags.DEFINE_integer(
    'quality', 90, 'Quality of the JPEGs.', lower_bound=1, upper_bound=100
)
_SHAPE = absl_flags.DEFINE_enum(
    'shape', 'keep', ['keep', 'square'], 'Keep the aspect ratio, or cut out the centre square.'
)


def main(arguments: Sequence[str]) -> None:
    """Prepares the splits of the config's data set."""
    flags.require_no_arguments(arguments)
    from resnet_jax.console import signals, terminal
    from resnet_jax.data.preparation import encoding, prepare

    with signals.stop_requests() as request:
        prepare.prepare(
            _CONFIG.value,
            Path(_OUTPUT.value),
            encoding.Encoding(_ENCODING.value, _SIZE.value, _SHAPE.value, _QUALITY.value),
            terminal.set_up_logging(),
            request,
        )


if __name__ == '__main__':
    flags.run(main)
