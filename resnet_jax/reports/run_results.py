"""Results of a run for its report: config, metrics, machine counters and confusion counts."""

import dataclasses
import math
from collections.abc import Sequence

from ml_collections import ConfigDict

from resnet_jax.config.data_set_name import data_set_name
from resnet_jax.config.leading_metric import leading_metric
from resnet_jax.errors import InputError
from resnet_jax.evaluation.confusion_files import SavedConfusion, load_confusion
from resnet_jax.reports.columns import Columns, read_machine, read_metrics
from resnet_jax.storage.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class RunResults:
    """Results of a run, read and checked.

    Attributes:
      config: config of the run.
      environment: content of `environment.json`.
      class_names: names of the classes in index order, one for each output of the network.
      metrics: columns of `metrics.csv`, with at least one row.
      machine: columns of `machine.csv`; empty if there is no such file.
      evaluations: confusion of each evaluation for which it was saved, oldest first.
      leading: accuracy that comes first, 'top1' or 'top5'.
    """

    config: ConfigDict
    environment: dict
    class_names: Sequence[str]
    metrics: Columns
    machine: Columns
    evaluations: Sequence[SavedConfusion]
    leading: str

    @property
    def imported_from(self) -> str:
        """Format of the file with the weights of an imported run; '' for a run that was trained."""
        origin = self.environment.get('weights')
        return str(origin.get('format', 'a file')) if isinstance(origin, dict) else ''

    @property
    def title(self) -> str:
        """Name of the network and of its data set."""
        name = f'ResNet-{self.config.model.depth} on {data_set_name(self.config)}'
        return f'{name}, imported from {self.imported_from}' if self.imported_from else name

    @property
    def last_epoch(self) -> float:
        """Epoch of the last evaluation; 0 if the run was not trained."""
        return float(self.metrics['epoch'][-1])

    @property
    def last_machine_epoch(self) -> float:
        """Epoch of the last row of the machine's counters; nan without such rows."""
        if not (self.machine and self.metrics['step'][-1]):
            return math.nan
        return self.machine['step'][-1] * self.last_epoch / self.metrics['step'][-1]


def read_results(run: Workdir) -> RunResults:
    """Reads the results of a run.

    Raises:
      InputError: if the folder has no run or no evaluation yet, or if a file is damaged.
    """
    config = run.read_config()
    metrics = read_metrics(run)
    if not metrics:
        raise InputError(
            f'{run.path}: expected at least one evaluation in metrics.csv, found none; train '
            f'until the first one, after epoch {config.evaluate_every_epochs}, or evaluate an '
            'imported run (python -m resnet_jax.evaluate)'
        )
    evaluations = [load_confusion(run.confusion_file(step)) for step in run.list_confusion_steps()]
    class_counts = {saved.counts.num_classes for saved in evaluations}
    names = list(run.read_class_names())
    if len(class_counts) > 1:
        raise InputError(
            f'{run.confusion}: expected counts of one network, found {sorted(class_counts)} '
            'classes; delete the files that do not belong to this run'
        )
    leading = leading_metric(config, len(names))
    num_classes = class_counts.pop() if class_counts else len(names)
    names += [f'output {i}' for i in range(len(names), num_classes)]
    return RunResults(
        config,
        run.read_environment(),
        names[:num_classes],
        metrics,
        read_machine(run),
        evaluations,
        leading,
    )
