"""The Python face: `train`, and `Run` for evaluation, prediction, export and the report."""

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jax.sharding import SingleDeviceSharding
from ml_collections import ConfigDict

from resnet_jax.checkpoints import selection
from resnet_jax.checkpoints.trained_network import TrainedNetwork, load_trained_network
from resnet_jax.config import checks
from resnet_jax.config.data_set_name import data_set_name
from resnet_jax.config.leading_metric import best_row, leading_metric
from resnet_jax.console import signals, terminal
from resnet_jax.devices import backend
from resnet_jax.errors import InputError
from resnet_jax.evaluation.metrics import EvaluationResult
from resnet_jax.inference import checkpoint_evaluation, export
from resnet_jax.inference.predictor import Predictor
from resnet_jax.reports import columns
from resnet_jax.storage.workdir import Workdir


def train(config: ConfigDict, folder: str | Path) -> 'Run':
    """Trains a config in a folder, or continues the run that is there.

    Progress goes to standard error. SIGTERM and SIGINT (Ctrl-C, or a notebook's interrupt) end the
    training after the current step, which is saved. Outside of the main thread, where Python
    receives no signals, they are not caught.

    JAX simulates devices on a machine without GPUs only if nothing has used JAX before in this
    process; otherwise set `config.num_devices = 1`, or `JAX_NUM_CPU_DEVICES=4` in the environment.
    Log lines go through absl's handler, which replaces a handler of the root logger that writes to
    standard error.

    Args:
      config: config of the run, such as `configs.resnet18.get_config('digits')`.
      folder: folder of the run; created if it is missing.

    Returns:
      The run, once its last epoch is done.

    Raises:
      InputError: if the config, its data or the devices are not as expected, or the folder holds a
        run of another config.
      RunFailed: if the run cannot continue; what was saved before stays intact.
      Stopped: if a signal asked the training to stop; the same call continues it.
    """
    from resnet_jax.training import loop  # optimizers and Orbax, which nothing else here needs

    checks.validate(config)
    with signals.stop_requests() as request:
        loop.train(config, Path(folder), terminal.set_up_logging(), request)
    return Run(folder)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of a run.

    Attributes:
      step: number of completed steps.
      epoch: the same in epochs.
      scores: `top5`, `top1` and `loss` on the validation split; None if the step was not evaluated.
      is_best: whether `checkpoint='best'` selects it.
    """

    step: int
    epoch: float
    scores: Mapping[str, float] | None
    is_best: bool


class Run:
    """A run in its folder, finished or in training.

    Nothing here changes it, but `evaluate` saves the evaluation of an imported run for its report.
    Evaluation and prediction use all devices of this process, however many trained the run.

    Args:
      folder: folder of the run, the `--workdir` of the training.

    Raises:
      InputError: if there is no run in the folder.
    """

    def __init__(self, folder: str | Path):
        self.workdir = Workdir(Path(folder))
        self.config: ConfigDict = self.workdir.read_config()

    @classmethod
    def from_weights(
        cls,
        weights: str | Path,
        folder: str | Path,
        *,
        file_format: str,
        config: ConfigDict | None = None,
    ) -> 'Run':
        """Creates a run from a file of published weights, with one checkpoint at step 0.

        Args:
          weights: path of the file: `.params`, `.safetensors`, `.h5` or `.keras`.
          folder: folder of the run, which must be new or empty.
          file_format: 'mxnet', 'timm', 'keras', or 'resnet_jax' for what `export` wrote.
          config: config to start from; None for the one of the weights' data set. Its network must
            be the file's.

        Raises:
          InputError: if the file is damaged, unknown or contradicts the config, or the folder is
            in use; then nothing is left behind.
        """
        from resnet_jax.training import imported_run

        imported_run.import_weights(file_format, Path(weights), Path(folder), config)
        return cls(folder)

    def __repr__(self) -> str:
        model = self.config.model
        network = f'ResNet-{model.depth} v2 ({model.variant}) on {data_set_name(self.config)}'
        return f'<Run {str(self.workdir.path)!r}: {network}, {self._describe_progress()}>'

    def _describe_progress(self) -> str:
        try:
            metrics, leading = self.metrics(), self.leading_metric
        except InputError:
            return 'class_names.txt or metrics.csv is damaged'
        if not metrics:
            return 'not evaluated yet'
        epochs, best = metrics['epoch'], best_row(metrics, leading)
        scores = ' and '.join(
            f'top-{name[-1]} {metrics[f"validation_{name}"][best]:.2%}'
            for name in sorted(('top1', 'top5'), key=lambda name: name != leading)
        )
        if not epochs[-1]:
            return f'imported, {scores}'
        return (
            f'epoch {epochs[-1]:g} of {self.config.num_epochs}, best {scores} at epoch '
            f'{epochs[best]:g}'
        )

    @property
    def leading_metric(self) -> str:
        """Accuracy that chooses the best checkpoint and is shown first, 'top1' or 'top5'."""
        return leading_metric(self.config, len(self.class_names()))

    def class_names(self) -> tuple[str, ...]:
        """Returns the names of the classes in index order."""
        return self.workdir.read_class_names()

    def metrics(self) -> dict[str, np.ndarray]:
        """Returns `metrics.csv` as float64 arrays by column, one value for each evaluation.

        The columns are `step`, `epoch`, `learning_rate`, `train_loss`, `train_top1`, `train_top5`,
        `validation_loss`, `validation_top1`, `validation_top5` (accuracies are fractions),
        `images_per_second` and `input_wait_fraction`; nan where nothing was measured. There are no
        columns before the first evaluation.

        Raises:
          InputError: if the file is damaged.
        """
        return columns.read_metrics(self.workdir)

    def checkpoints(self) -> list[Checkpoint]:
        """Returns the checkpoints of the run, oldest first, without damaged ones."""
        known = selection.read_all_metadata(self.workdir.checkpoints)
        best = selection.select(known, 'best', self.leading_metric)
        return [
            Checkpoint(step, metadata.epoch, metadata.scores, step == best)
            for step, metadata in known.items()
        ]

    def evaluate(
        self,
        split: str = 'validation',
        checkpoint: str | int = 'best',
        batch_size: int = 0,
        audit_mxnet_r: int | None = None,
        data_dir: str | Path = '',
        screen: terminal.Terminal | None = None,
    ) -> EvaluationResult:
        """Evaluates a checkpoint on a whole split, without augmentation.

        Each example counts once, whatever the batch size and the devices; but in other shapes the
        arithmetic is rounded in another way (see `Evaluator`).

        If the run was imported and not trained, the evaluation of its validation split is saved in
        its folder, so that `write_report` can show it. With `data_dir`, it is only saved for a data
        set of TFDS, which has a name.

        Args:
          split: 'validation' or 'train', as the run's config defines them.
          checkpoint: 'best' (by `leading_metric` on the validation split, then by the other
            accuracy, then the later step), 'latest', a step, or 'epoch:N'.
          batch_size: number of images in each step, from 1 to 1,000,000; 0 for the config's.
          audit_mxnet_r: number of examples in a slice for `mxnet_r_top5`, which is then computed
            too (docs/the-2016-number.md).
          data_dir: folder of the data, in place of `config.data.dir`; '' for the config's.
          screen: terminal that shows the progress; None shows nothing.

        Raises:
          InputError: if the split or checkpoint is unknown, a number is out of range, or the data
            is not there.
          RunFailed: if the data cannot be read, or if more images cannot be decoded than
            `config.data.max_skipped_fraction` allows.
        """
        return checkpoint_evaluation.evaluate_checkpoint(
            self.workdir,
            self.config,
            split=split,
            checkpoint=checkpoint,
            batch_size=batch_size,
            audit_mxnet_r=audit_mxnet_r,
            data_dir=data_dir,
            screen=screen,
        )

    def predictor(
        self, checkpoint: str | int = 'best', exif_orientation: bool | None = None
    ) -> Predictor:
        """Returns a predictor with the weights of a checkpoint.

        Args:
          checkpoint: as in `evaluate`.
          exif_orientation: whether image files are turned as their EXIF orientation says; None for
            `config.data.exif_orientation`.

        Raises:
          InputError: if the checkpoint is unknown or damaged.
        """
        trained = self._load(checkpoint)
        config = copy.deepcopy(self.config)
        if exif_orientation is not None:
            config.data.exif_orientation = exif_orientation
        return Predictor(dataclasses.replace(trained, config=config))

    def export(
        self,
        output: str | Path,
        checkpoint: str | int = 'best',
        file_format: str = 'stablehlo',
        platforms: Sequence[str] = ('cpu', 'cuda'),
    ) -> list[Path]:
        """Writes the network and the weights of a checkpoint into a file for use elsewhere.

        Args:
          output: path of the file.
          checkpoint: as in `evaluate`.
          file_format: 'stablehlo' (from images to probabilities; jax alone can run it; class names
            and preprocessing go to a JSON file of the same name) or 'safetensors' (the arrays).
          platforms: platforms that can run the StableHLO: 'cpu', 'cuda', 'rocm', 'tpu'.

        Returns:
          The files that were written.

        Raises:
          InputError: if the checkpoint, format or platform is unknown, or the folder is missing.
        """
        export.require_possible(Path(output), file_format, platforms)
        return export.export(self._load(checkpoint), Path(output), file_format, platforms)

    def _load(self, checkpoint: str | int) -> TrainedNetwork:
        sharding = SingleDeviceSharding(backend.all_devices().devices.flat[0])
        return load_trained_network(self.workdir, checkpoint, sharding)

    def write_report(self, order: str = 'index') -> Path:
        """Writes the report: figures of the run and one page. Nothing is evaluated again.

        Args:
          order: order of the classes in the confusion matrices, 'index' or 'similarity'.

        Returns:
          Path of the page, `report/index.html`, next to which the figures lie.

        Raises:
          InputError: if the run has no evaluation yet, or its files are damaged.
        """
        from resnet_jax.reports import report  # matplotlib, which nothing else here needs

        return report.write_report(self.workdir, order)
