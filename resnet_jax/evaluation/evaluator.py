"""Evaluation of a whole split, each example exactly once."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from resnet_jax import parallel
from resnet_jax.data import pipeline
from resnet_jax.data.sources import Source
from resnet_jax.evaluation import confusion
from resnet_jax.evaluation.metrics import EvaluationResult
from resnet_jax.models.resnet import ResNet
from resnet_jax.training import steps


class Evaluator:
    """Evaluates weights on a split; built once, it compiles once.

    Args:
      config: a whole config.
      model: the network.
      source: the split.
      mesh: the devices that share each batch.
      split: 'train' or 'validation', for the result.
      batch_size: of all devices together; rounded up to a multiple of their number.
    """

    def __init__(
        self,
        config: ConfigDict,
        model: ResNet,
        source: Source,
        mesh: Mesh,
        *,
        split: str,
        batch_size: int,
    ):
        self._config = config
        self._source = source
        self._mesh = mesh
        self._split = split
        self._batch_size = -(-batch_size // mesh.devices.size) * mesh.devices.size
        self._num_classes = model.num_classes
        self._p_step = parallel.p_map(steps.make_evaluation_step(model), mesh)

    def run(self, variables: dict[str, Any], *, step: int) -> EvaluationResult:
        """Evaluates `{'params': ..., 'batch_stats': ...}`, replicated, of a training step."""
        outputs = list(self._outputs(variables))
        labels, losses, top_classes = (
            np.concatenate([output[key] for output in outputs])
            for key in ('label', 'loss', 'top_classes')
        )
        num_examples = len(labels)
        if num_examples != self._source.num_examples:
            raise RuntimeError(
                f'evaluation of {self._split}: expected {self._source.num_examples} examples, '
                f'found {num_examples}; the data set is not what its description says'
            )
        hits = top_classes == labels[:, None]
        return EvaluationResult(
            split=self._split,
            step=step,
            num_examples=num_examples,
            loss=float(np.sum(losses, dtype=np.float64) / num_examples),
            top1=int(np.sum(hits[:, 0])) / num_examples,
            top5=int(np.sum(hits)) / num_examples,
            confusion=confusion.count_confusion(labels, top_classes, self._num_classes),
            averaged=bool(self._config.ema_decay),
        )

    def _outputs(self, variables: dict[str, Any]) -> Iterator[dict[str, np.ndarray]]:
        """Yields labels, losses and top classes of the real examples, a batch at a time.

        The next batch is on its way while the devices compute.
        """

        def start(batch: dict) -> tuple[dict, dict]:
            on_devices = parallel.shard({key: batch[key] for key in ('image', 'label')}, self._mesh)
            return batch, self._p_step(variables, on_devices)

        batches = pipeline.evaluation_batches(
            self._source, self._config, batch_size=self._batch_size
        )
        for batch, outputs in pipeline.prefetch(batches, start):
            outputs = jax.device_get(outputs) | {'label': batch['label']}
            yield {key: array[batch['mask']] for key, array in outputs.items()}
