"""Evaluation of a checkpoint on a split of its run's data set."""

import contextlib
import copy
from collections.abc import Callable, Iterator
from pathlib import Path

from ml_collections import ConfigDict

from resnet_jax.checkpoints.trained_network import load_trained_network
from resnet_jax.config import checks, ranges
from resnet_jax.console.progress import Progress
from resnet_jax.console.terminal import Terminal
from resnet_jax.data.sources import registry
from resnet_jax.devices import backend, parallel
from resnet_jax.errors import InputError
from resnet_jax.evaluation import mxnet_r, saving
from resnet_jax.evaluation.evaluator import Evaluator
from resnet_jax.evaluation.metrics import EvaluationResult
from resnet_jax.storage.workdir import Workdir


def evaluate_checkpoint(
    workdir: Workdir,
    config: ConfigDict,
    *,
    split: str,
    checkpoint: str | int,
    batch_size: int,
    audit_mxnet_r: int | None,
    data_dir: str | Path,
    screen: Terminal | None,
) -> EvaluationResult:
    """Evaluates a checkpoint of the run in `workdir`, whose config is `config`.

    The other arguments, the effects and the errors are those of `Run.evaluate`.
    """
    config = _with_data_dir(config, str(data_dir))
    splits = {'validation': config.data.validation_split, 'train': config.data.train_split}
    if split not in splits:
        raise InputError(f'split {split!r}: expected one of {", ".join(splits)}')
    if batch_size and not ranges.is_in_range('batch_size', batch_size):
        allowed = ranges.describe_range('batch_size', batch_size)
        raise InputError(f'batch_size = {batch_size}: expected {allowed}, or 0 for the config')
    if audit_mxnet_r is not None:
        mxnet_r.require_slice_size(audit_mxnet_r)
    mesh = backend.all_devices()
    trained = load_trained_network(workdir, checkpoint, parallel.replicated(mesh))
    source = registry.load_source(config, splits[split], dir_option='data_dir')
    checks.validate_classes(
        config,
        trained.class_names,
        source.class_names,
        where=f'{workdir.path} and split {splits[split]!r}',
    )
    evaluator = Evaluator(
        config,
        trained.model.compute_logits,
        source,
        mesh,
        num_classes=trained.model.num_classes,
        split=split,
        batch_size=min(batch_size, source.num_examples) or config.batch_size,
    )
    with _progress(screen, source.num_examples) as count:
        result = evaluator.run(
            trained.model_variables(),
            step=trained.step,
            on_evaluated=count,
            audit_mxnet_r=audit_mxnet_r,
        )
    is_own_data = not data_dir or config.data.source == 'tfds'  # which has its name in the config
    if split == 'validation' and is_own_data:
        saving.save_if_imported(workdir, result)
    return result


def _with_data_dir(config: ConfigDict, data_dir: str) -> ConfigDict:
    """Returns the config with another `data.dir`, unless that is ''."""
    if not data_dir:
        return config
    if config.data.source == 'digits':
        raise InputError(
            f'data_dir = {data_dir!r}: expected none, because the digits of this run come with '
            'scikit-learn; omit it'
        )
    config = copy.deepcopy(config)
    config.data.dir = data_dir
    return config


@contextlib.contextmanager
def _progress(screen: Terminal | None, num_images: int) -> Iterator[Callable[[int], None]]:
    """Shows the progress of the block, which calls the function with numbers of done images."""
    if screen is None:
        yield lambda _: None
        return
    progress = Progress(screen, num_images)
    try:
        yield lambda number: progress.add(num_images=number)
    finally:
        screen.show_progress('')
