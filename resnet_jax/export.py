"""Command that exports a trained network to a file.

    python -m resnet_jax.export --workdir=DIR --output=FILE [--format=safetensors]

A file in the format `stablehlo` runs with jax alone (docs/weights.md shows how). A file in the
format `safetensors` holds the weights only.
"""

from collections.abc import Sequence

from absl import flags as absl_flags

from resnet_jax.config import flags

_WORKDIR = flags.define_workdir()
_CHECKPOINT = flags.define_checkpoint()
_OUTPUT = flags.define_path('output', None, 'File to write.', required=True)
_FORMAT = absl_flags.DEFINE_string(
    'format', 'stablehlo', 'Format of the file: stablehlo or safetensors.'
)
_PLATFORMS = absl_flags.DEFINE_list(
    'platforms', 'cpu,cuda', 'Platforms for stablehlo: one or more of cpu, cuda, rocm and tpu.'
)


def main(arguments: Sequence[str]) -> None:
    """Exports a checkpoint of a run, and prints the names and sizes of the files."""
    flags.require_no_arguments(arguments)
    from resnet_jax.console import terminal
    from resnet_jax.run import Run

    terminal.set_up_logging()
    run = Run(_WORKDIR.value)
    for path in run.export(_OUTPUT.value, _CHECKPOINT.value, _FORMAT.value, _PLATFORMS.value):
        print(f'{path}: {path.stat().st_size:,} bytes')


if __name__ == '__main__':
    flags.run(main)
