"""Export of a trained network to StableHLO or safetensors, for use without this project."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import export as jax_export

from resnet_jax.checkpoints.trained_network import TrainedNetwork
from resnet_jax.errors import InputError
from resnet_jax.storage.files import require_regular, write_bytes, write_text
from resnet_jax.weights import own_format

FORMATS = ('stablehlo', 'safetensors')
PLATFORMS = ('cpu', 'cuda', 'rocm', 'tpu')


def require_possible(output: Path, file_format: str, platforms: Sequence[str]) -> None:
    """Checks the arguments of `export` before any weights are read.

    Args:
      output: path of the file to write.
      file_format: one of `FORMATS`.
      platforms: at least one of `PLATFORMS`.

    Raises:
      InputError: if the format or a platform is unknown, or if the output cannot be a file or is
        something else than a regular file.
    """
    if file_format not in FORMATS:
        raise InputError(f'format {file_format!r}: expected one of {", ".join(FORMATS)}')
    if not platforms or not set(platforms) <= set(PLATFORMS):
        raise InputError(
            f'platforms {",".join(platforms)!r}: expected one or more of {", ".join(PLATFORMS)}'
        )
    if output.is_dir() or not output.parent.is_dir():
        raise InputError(f'output {output}: expected the name of a file in a folder that exists')
    require_regular(output)
    if file_format == 'stablehlo' and output.suffix == '.json':
        raise InputError(
            f'output {output}: expected a suffix other than .json, which is for the file with the '
            f'class names; use {output.with_suffix(".stablehlo").name}'
        )
    if file_format == 'stablehlo':
        require_regular(output.with_suffix('.json'))


def export(
    trained: TrainedNetwork, output: Path, file_format: str, platforms: Sequence[str]
) -> list[Path]:
    """Writes a network and its weights to a file.

    With 'stablehlo', a JSON file with class names and preprocessing is written next to it.

    Args:
      trained: network, weights and class names.
      output: path of the file to write.
      file_format: one of `FORMATS`.
      platforms: platforms on which the StableHLO can run, of `PLATFORMS`.

    Returns:
      The paths of the files that were written.

    Raises:
      RunFailed: if a file cannot be written.
    """
    if file_format == 'safetensors':
        content = own_format.encode(
            trained.config, trained.class_names, trained.variables, trained.step
        )
        write_bytes(output, content)
        return [output]
    exported = export_probabilities(trained, platforms)
    json_path = output.with_suffix('.json')
    write_bytes(output, bytes(exported.serialize()))
    write_text(json_path, json.dumps(describe(trained, exported), indent=2) + '\n')
    return [output, json_path]


def export_probabilities(trained: TrainedNetwork, platforms: Sequence[str]) -> jax_export.Exported:
    """Returns the function from images to probabilities, with weights and normalisation inside.

    It maps uint8 `[N, S, S, 3]` to float32 `[N, C]` for any N. S is `data.image_size`, and C is the
    number of class names: further outputs of the network are dropped after the softmax.

    Args:
      trained: network, weights and class names.
      platforms: platforms on which the function can run, of `PLATFORMS`.
    """
    variables = trained.model_variables()

    def compute_probabilities(images: jax.Array) -> jax.Array:
        logits = trained.model.compute_logits(variables, images)
        return jax.nn.softmax(logits)[:, : len(trained.class_names)]

    size = trained.config.data.image_size
    [n] = jax_export.symbolic_shape('N')
    images = jax.ShapeDtypeStruct((n, size, size, 3), jnp.uint8)
    return jax_export.export(jax.jit(compute_probabilities), platforms=platforms)(images)


def describe(trained: TrainedNetwork, exported: jax_export.Exported) -> dict[str, Any]:
    """Returns what a user of the exported file must know, as values for JSON."""
    data = trained.config.data
    return {
        'class_names': list(trained.class_names),
        'preprocessing': {
            'color': 'RGB',
            'dtype': 'uint8',
            'resize_short_side': data.resize_size,
            'interpolation': data.validation_interpolation,
            'antialias': True,
            'centre_crop': data.image_size,
            'exif_orientation': data.exif_orientation,
        },
        'normalisation_inside': {'mean': list(data.mean), 'std': list(data.std)},
        'platforms': list(exported.platforms),
        'step': trained.step,
        'jax': jax.__version__,
    }
