"""A trained network in files that others can use without this project."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import export as jax_export

from resnet_jax.checkpoints.trained_network import TrainedNetwork
from resnet_jax.errors import InputError
from resnet_jax.storage.files import write_bytes, write_text
from resnet_jax.weights import own_format

FORMATS = ('stablehlo', 'safetensors')
PLATFORMS = ('cpu', 'cuda', 'rocm', 'tpu')


def require_possible(output: Path, file_format: str, platforms: Sequence[str]) -> None:
    """Checks what can be checked before weights are read.

    Raises:
      InputError: for an unknown format or platform, or an output that cannot be a file.
    """
    if file_format not in FORMATS:
        raise InputError(f'format {file_format!r}: expected one of {", ".join(FORMATS)}')
    if not platforms or not set(platforms) <= set(PLATFORMS):
        raise InputError(
            f'platforms {",".join(platforms)!r}: expected some of {", ".join(PLATFORMS)}'
        )
    if output.is_dir() or not output.parent.is_dir():
        raise InputError(f'output {output}: expected the name of a file in a folder that exists')
    if file_format == 'stablehlo' and output.suffix == '.json':
        raise InputError(
            f'output {output}: expected another suffix; the class names go to .json beside it'
        )


def export(
    trained: TrainedNetwork, output: Path, file_format: str, platforms: Sequence[str]
) -> list[Path]:
    """Writes a network and its weights; the arguments are those of `Run.export`.

    Returns:
      The files that were written.
    """
    if file_format == 'safetensors':
        content = own_format.encode(
            trained.config, trained.class_names, trained.variables, trained.step
        )
        write_bytes(output, content)
        return [output]
    exported = export_probabilities(trained, platforms)
    beside = output.with_suffix('.json')
    write_bytes(output, bytes(exported.serialize()))
    write_text(beside, json.dumps(describe(trained, exported), indent=2) + '\n')
    return [output, beside]


def export_probabilities(trained: TrainedNetwork, platforms: Sequence[str]) -> jax_export.Exported:
    """Returns the function from uint8 `[N, S, S, 3]` to float32 `[N, C]` for any N.

    S is `data.image_size`, C the number of class names: a network may have more outputs. Weights
    and normalisation are inside.
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
    """Returns what a user of the file has to know, ready for JSON."""
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
        },
        'normalisation_inside': {'mean': list(data.mean), 'std': list(data.std)},
        'platforms': list(exported.platforms),
        'step': trained.step,
        'jax': jax.__version__,
    }
