"""Evaluator: evaluates weights on every example of a split, exactly once each."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from resnet_jax.data import pipeline, prefetching
from resnet_jax.data.skip_limit import require_few_skipped
from resnet_jax.data.source import Source
from resnet_jax.devices import parallel, processes
from resnet_jax.errors import RunFailed
from resnet_jax.evaluation import confusion, mxnet_r
from resnet_jax.evaluation.evaluation_step import ComputeLogits, make_evaluation_step
from resnet_jax.evaluation.metrics import EvaluationResult
from resnet_jax.types import Batch


class Evaluator:
    """Evaluates weights on a split. The evaluation step is compiled once for all runs.

    Each example counts once, whatever the batch size and the devices. The arithmetic is rounded in
    another way in other shapes, so the size of a device's share of a batch changes the last digits
    of the loss. In bfloat16 it can also change the prediction for a few examples between two
    classes: one of 360 digits, for example.

    Args:
      config: complete config.
      compute_logits: function that computes the logits of images.
      source: split to evaluate.
      mesh: devices that share each batch.
      num_classes: number of logits of an image.
      split: name of the split, 'train' or 'validation', for the result.
      batch_size: batch size of all devices together; rounded up to a multiple of the number of
        devices.
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
        """Number of examples in the split."""
        return self._source.num_examples

    def run(
        self,
        variables: dict[str, Any],
        *,
        step: int,
        between_batches: Callable[[], None] = lambda: None,
        on_evaluated: Callable[[int], None] = lambda _: None,
        audit_mxnet_r: int | None = None,
    ) -> EvaluationResult:
        """Evaluates weights.

        Args:
          variables: `{'params': ..., 'batch_stats': ...}`, replicated.
          step: number of training steps of the weights, for the result.
          between_batches: function that is called before each batch; it can raise an exception to
            stop the evaluation.
          on_evaluated: function that is called after each batch with the number of its examples.
          audit_mxnet_r: number of examples in a slice of `mxnet_r_top5`, in stored order; None
            does not compute it.

        Raises:
          RunFailed: if the source does not yield each example of the split exactly once, or if
            more images are skipped than `config.data.max_skipped_fraction` allows.
        """
        where = f'evaluation of {self._split} at step {step}'
        batches = []
        skipped: list[int] = []
        for batch in self._evaluate_batches(variables, between_batches):
            batches.append(batch)
            skipped += batch['id'][~batch['mask']].tolist()
            require_few_skipped(skipped, self.num_examples, self._source, self._config, where=where)
            on_evaluated(len(batch['id']))
        outputs = {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}
        ids = outputs['id']
        num_examples = len(ids)
        if not np.array_equal(ids, np.arange(self.num_examples)):
            raise RunFailed(
                f'{where}: expected {self.num_examples} examples, each once, found {num_examples} '
                f'with {len(np.unique(ids))} different ids: the data set does not match its '
                'description; prepare it again'
            )
        decoded = {key: array[outputs['mask']] for key, array in outputs.items()}
        num_decoded = len(decoded['id'])
        hits = decoded['top_classes'] == decoded['label'][:, None]
        return EvaluationResult(
            split=self._split,
            step=step,
            num_examples=num_examples,
            num_errors=num_examples - num_decoded,
            loss=float(np.sum(decoded['loss'], dtype=np.float64) / num_decoded),
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
                outputs['label'], outputs['top_classes'], outputs['mask'], audit_mxnet_r
            )
            if audit_mxnet_r is not None
            else None,
        )

    def _evaluate_batches(
        self, variables: dict[str, Any], between_batches: Callable[[], None]
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yields the outputs of the evaluation step for each batch, without padding rows.

        The next batch is copied to the devices while they compute.
        """

        def start(batch: Batch) -> dict[str, jax.Array]:
            between_batches()
            on_host = batch | {'id': batch['id'].astype(np.int32)}
            return self._p_step(variables, parallel.shard(on_host, self._mesh))

        batches = pipeline.evaluation_batches(
            self._source,
            self._config,
            batch_size=self._batch_size,
            process=processes.this_process(),
        )
        for outputs in prefetching.prefetch(batches, start):
            outputs = jax.device_get(outputs)
            yield {key: array[outputs['id'] >= 0] for key, array in outputs.items()}
