"""The Python face: what a running or finished experiment can do."""

from collections.abc import Sequence
from pathlib import Path

from jax.sharding import SingleDeviceSharding
from ml_collections import ConfigDict

from resnet_jax.checkpoints import trained_network
from resnet_jax.config import checks
from resnet_jax.data.sources import loading
from resnet_jax.devices import backend, parallel
from resnet_jax.errors import InputError
from resnet_jax.evaluation import mxnet_r
from resnet_jax.evaluation.evaluator import Evaluator
from resnet_jax.evaluation.metrics import EvaluationResult
from resnet_jax.inference import export
from resnet_jax.inference.predictor import Predictor
from resnet_jax.storage.workdir import Workdir


class Run:
    """An experiment in its folder, read only.

    It computes on all devices of the process, however many the run was trained on.

    Args:
      folder: the `--workdir` of the training.

    Raises:
      InputError: when there is no run in the folder.
    """

    def __init__(self, folder: str | Path):
        self.workdir = Workdir(Path(folder))
        self.config: ConfigDict = self.workdir.read_config()

    def class_names(self) -> tuple[str, ...]:
        """Returns the names of the classes in index order."""
        return self.workdir.read_class_names()

    def evaluate(
        self,
        split: str = 'validation',
        checkpoint: str | int = 'best',
        batch_size: int = 0,
        audit_mxnet_r: int | None = None,
    ) -> EvaluationResult:
        """Evaluates a checkpoint on a whole split, without augmentation.

        Args:
          split: 'validation' or 'train', as the run's config defines them.
          checkpoint: 'best' (validation top-5, then top-1, then the later step), 'latest', a step,
            or 'epoch:N'.
          batch_size: images a step; 0 for the config's. The result does not depend on it.
          audit_mxnet_r: also compute `mxnet_r_top5`, in slices of so many examples in stored
            order (docs/the-2016-number.md).

        Raises:
          InputError: for an unknown split or checkpoint, or data that is not there.
        """
        splits = {
            'validation': self.config.data.validation_split,
            'train': self.config.data.train_split,
        }
        if split not in splits:
            raise InputError(f'split {split!r}: expected one of {", ".join(splits)}')
        if batch_size < 0:
            raise InputError(f'batch_size = {batch_size}: expected at least 1, or 0 for the config')
        if audit_mxnet_r is not None:
            mxnet_r.require_slice_size(audit_mxnet_r)
        mesh = backend.all_devices()
        trained = trained_network.load_trained_network(
            self.workdir, checkpoint, parallel.replicated(mesh)
        )
        source = loading.load_source(self.config, splits[split])
        checks.validate_classes(
            self.config,
            trained.class_names,
            source.class_names,
            where=f'{self.workdir.path} and split {splits[split]!r}',
        )
        evaluator = Evaluator(
            self.config,
            trained.model.compute_logits,
            source,
            mesh,
            num_classes=trained.model.num_classes,
            split=split,
            batch_size=batch_size or self.config.batch_size,
        )
        variables = trained.model_variables()
        return evaluator.run(variables, step=trained.step, audit_mxnet_r=audit_mxnet_r)

    def predictor(self, checkpoint: str | int = 'best') -> Predictor:
        """Returns a predictor with the weights of a checkpoint.

        Args:
          checkpoint: as in `evaluate`.

        Raises:
          InputError: for an unknown checkpoint.
        """
        return Predictor(self._load(checkpoint))

    def export(
        self,
        output: str | Path,
        checkpoint: str | int = 'best',
        file_format: str = 'stablehlo',
        platforms: Sequence[str] = ('cpu', 'cuda'),
    ) -> list[Path]:
        """Writes the network and the weights of a checkpoint into a file that others can use.

        Args:
          output: the file.
          checkpoint: as in `evaluate`.
          file_format: 'stablehlo', from images to probabilities, which jax alone can run, with
            class names and preprocessing in a JSON file beside it; or 'safetensors', the arrays.
          platforms: that the StableHLO is for: 'cpu', 'cuda', 'rocm', 'tpu'.

        Returns:
          The files that were written.

        Raises:
          InputError: for an unknown checkpoint, format or platform, or a folder that is not there.
        """
        export.require_possible(Path(output), file_format, platforms)
        return export.export(self._load(checkpoint), Path(output), file_format, platforms)

    def _load(self, checkpoint: str | int) -> trained_network.TrainedNetwork:
        sharding = SingleDeviceSharding(backend.all_devices().devices.flat[0])
        return trained_network.load_trained_network(self.workdir, checkpoint, sharding)

    def write_report(self, order: str = 'index') -> Path:
        """Draws what the run has to show, without evaluating anything again.

        Args:
          order: of the classes in the confusion matrices, 'index' or 'similarity'.

        Returns:
          The page, `report/index.html`, beside which the pictures lie.

        Raises:
          InputError: without an evaluation, or with damaged files.
        """
        from resnet_jax.reports import report  # matplotlib, which nothing else here needs

        return report.write_report(self.workdir, order)
