"""Results of a run for its report: config, metrics, machine counters and confusion counts."""

import dataclasses
from collections.abc import Sequence

from ml_collections import ConfigDict

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
    """

    config: ConfigDict
    environment: dict
    class_names: Sequence[str]
    metrics: Columns
    machine: Columns
    evaluations: Sequence[SavedConfusion]

    @property
    def title(self) -> str:
        """Name of the network and of its data set."""
        data = self.config.data
        return f'ResNet-{self.config.model.depth} on {data.name if data.name else data.source}'


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
            f'until the first one, after epoch {config.evaluate_every_epochs}'
        )
    evaluations = [load_confusion(run.confusion_file(step)) for step in run.list_confusion_steps()]
    class_counts = {saved.counts.num_classes for saved in evaluations}
    names = list(run.read_class_names())
    if len(class_counts) > 1:
        raise InputError(
            f'{run.confusion}: expected counts of one network, found {sorted(class_counts)} '
            'classes; delete the files that do not belong to this run'
        )
    num_classes = class_counts.pop() if class_counts else len(names)
    names += [f'output {i}' for i in range(len(names), num_classes)]
    return RunResults(
        config,
        run.read_environment(),
        names[:num_classes],
        metrics,
        read_machine(run),
        evaluations,
    )
