"""ResNet v2 with JAX and Flax.

>>> import resnet_jax
>>> run = resnet_jax.Run('runs/resnet18')  # doctest: +SKIP
>>> run.evaluate(split='validation', checkpoint='best').top5  # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

from resnet_jax.errors import InputError, RunFailed, Stopped
from resnet_jax.types import Prediction

if TYPE_CHECKING:
    from resnet_jax.evaluation.metrics import EvaluationResult
    from resnet_jax.inference.predictor import Predictor
    from resnet_jax.run import Checkpoint, Run, train

__all__ = [
    'Checkpoint',
    'EvaluationResult',
    'InputError',
    'Prediction',
    'Predictor',
    'Run',
    'RunFailed',
    'Stopped',
    'train',
]

_LAZY = {
    'Checkpoint': 'resnet_jax.run',
    'EvaluationResult': 'resnet_jax.evaluation.metrics',
    'Predictor': 'resnet_jax.inference.predictor',
    'Run': 'resnet_jax.run',
    'train': 'resnet_jax.run',
}


def __getattr__(name: str) -> Any:
    """Imports heavy names on first use, so that `--help` of a command is fast."""
    import importlib

    if name not in _LAZY:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module(_LAZY[name]), name)
