"""Evaluation of a whole split, each example exactly once."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from resnet_jax.data import pipeline, prefetching
from resnet_jax.data.source import Source
from resnet_jax.devices import parallel, processes
from resnet_jax.errors import RunFailed
from resnet_jax.evaluation import confusion, mxnet_r
from resnet_jax.evaluation.evaluation_step import ComputeLogits, make_evaluation_step
from resnet_jax.evaluation.metrics import EvaluationResult
from resnet_jax.types import Batch


class Evaluator:
    """Evaluates weights on a split; built once, it compiles once.

    Args:
      config: a whole config.
      compute_logits: the network.
      source: the split.
      mesh: the devices that share each batch.
      num_classes: number of its logits.
      split: 'train' or 'validation', for the result.
      batch_size: of all devices together; rounded up to a multiple of their number.
    """

    def __init__(
        self,
        config: ConfigDict,
        compute_logits: ComputeLogits,
        source: Source,
        mesh: Mesh,
        *,
        num_classes: int,
        split: str,
        batch_size: int,
    ):
        self._config = config
        self._source = source
        self._mesh = mesh
        self._split = split
        self._batch_size = -(-batch_size // mesh.devices.size) * mesh.devices.size
        self._num_classes = num_classes
        self._p_step = parallel.p_map(make_evaluation_step(compute_logits), mesh)

    @property
    def num_examples(self) -> int:
        """The examples in the split."""
        return self._source.num_examples

    def run(
        self,
        variables: dict[str, Any],
        *,
        step: int,
        between_batches: Callable[[], None] = lambda: None,
        audit_mxnet_r: int | None = None,
    ) -> EvaluationResult:
        """Evaluates weights.

        Args:
          variables: `{'params': ..., 'batch_stats': ...}`, replicated.
          step: of the weights, for the result.
          between_batches: called before each batch; may raise, to stop.
          audit_mxnet_r: also compute `mxnet_r_top5`, in slices of so many examples in stored
            order.
        """
        outputs = list(self._outputs(variables, between_batches))
        found = {key: np.concatenate([output[key] for output in outputs]) for key in outputs[0]}
        num_examples = len(found['id'])
        if not np.array_equal(found['id'], np.arange(self._source.num_examples)):
            raise RunFailed(
                f'evaluation of {self._split}: expected {self._source.num_examples} examples, each '
                f'once, found {num_examples}: the data set is not what its description says'
            )
        decoded = {key: array[found['mask']] for key, array in found.items()}
        num_decoded = len(decoded['id'])
        hits = decoded['top_classes'] == decoded['label'][:, None]
        return EvaluationResult(
            split=self._split,
            step=step,
            num_examples=num_examples,
            num_errors=num_examples - num_decoded,
            loss=float(np.sum(decoded['loss'], dtype=np.float64) / max(num_decoded, 1)),
            top1=int(np.sum(hits[:, 0])) / num_examples,
            top5=int(np.sum(hits)) / num_examples,
            counts=confusion.count_confusion(
                decoded['label'],
                decoded['top_classes'],
                num_examples=num_examples,
                num_classes=self._num_classes,
            ),
            averaged=bool(self._config.ema_decay),
            mxnet_r_top5=mxnet_r.compute_mxnet_r_top5(
                found['label'], found['top_classes'], found['mask'], audit_mxnet_r
            )
            if audit_mxnet_r is not None
            else None,
        )

    def _outputs(
        self, variables: dict[str, Any], between_batches: Callable[[], None]
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yields what the step finds about the examples of each batch, padding left out.

        The next batch is on its way while the devices compute.
        """

        def start(batch: Batch) -> dict[str, jax.Array]:
            between_batches()
            on_host = batch | {'id': batch['id'].astype(np.int32)}
            return self._p_step(variables, parallel.shard(on_host, self._mesh))

        batches = pipeline.evaluation_batches(
            self._source,
            self._config,
            batch_size=self._batch_size,
            process=pipeline.Process(*processes.index_and_count()),
        )
        for outputs in prefetching.prefetch(batches, start):
            outputs = jax.device_get(outputs)
            yield {key: array[outputs['id'] >= 0] for key, array in outputs.items()}
