"""ResNet v2 with JAX and Flax.

>>> import resnet_jax
>>> run = resnet_jax.Run('runs/resnet18')  # doctest: +SKIP
>>> run.evaluate(split='validation', checkpoint='best').top5  # doctest: +SKIP
"""

import sys
from typing import TYPE_CHECKING, Any

from resnet_jax.console import signals
from resnet_jax.errors import InputError, RunFailed, Stopped

if TYPE_CHECKING:
    from resnet_jax.evaluation.metrics import EvaluationResult
    from resnet_jax.inference.predictor import Predictor
    from resnet_jax.run import Checkpoint, Run, train
    from resnet_jax.types import Prediction

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
    'Prediction': 'resnet_jax.types',
    'Predictor': 'resnet_jax.inference.predictor',
    'Run': 'resnet_jax.run',
    'train': 'resnet_jax.run',
}


def _is_command() -> bool:
    """Returns whether this process is `python -m resnet_jax.COMMAND` or `resnet-jax COMMAND`."""
    program = sys.argv[0] if sys.argv else ''
    if program == '-m':  # Python looks for the module, and imports this package first
        return sys.orig_argv[-len(sys.argv)].split('.')[0] == __name__
    return program.rpartition('/')[2] == 'resnet-jax'


if _is_command():
    signals.end_at_once()  # also while the libraries are imported


def __getattr__(name: str) -> Any:
    """Imports heavy names on first use, so that `--help` of a command is fast."""
    import importlib

    if name not in _LAZY:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module(_LAZY[name]), name)
