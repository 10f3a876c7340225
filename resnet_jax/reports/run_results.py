"""What a run has left that can be shown: config, tables and confusion, read and checked."""

import dataclasses
from collections.abc import Sequence

from ml_collections import ConfigDict

from resnet_jax.errors import InputError
from resnet_jax.evaluation.confusion_files import SavedConfusion, load_confusion
from resnet_jax.reports.columns import Columns, read_machine, read_metrics
from resnet_jax.storage.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class RunResults:
    """What a run has left.

    Attributes:
      config: as run.
      environment: `environment.json`.
      class_names: as many as the network has outputs.
      metrics: `metrics.csv`, at least one row.
      machine: `machine.csv`, without columns where there is none.
      evaluations: whose confusion was saved, oldest first.
    """

    config: ConfigDict
    environment: dict
    class_names: Sequence[str]
    metrics: Columns
    machine: Columns
    evaluations: Sequence[SavedConfusion]

    @property
    def title(self) -> str:
        """What was trained on what."""
        data = self.config.data
        return f'ResNet-{self.config.model.depth} on {data.name if data.name else data.source}'


def read_results(run: Workdir) -> RunResults:
    """Reads what the report is made from.

    Raises:
      InputError: when it is not there or damaged.
    """
    config = run.read_config()
    metrics = read_metrics(run)
    if not metrics:
        raise InputError(
            f'{run.path}: expected at least one evaluation in metrics.csv, found none: the first '
            f'is after epoch {config.evaluate_every_epochs}'
        )
    evaluations = [load_confusion(run.confusion_file(step)) for step in run.list_confusion_steps()]
    sizes = {saved.counts.num_classes for saved in evaluations}
    names = list(run.read_class_names())
    if len(sizes) > 1:
        raise InputError(
            f'{run.confusion}: expected counts of one network, found {sorted(sizes)} classes'
        )
    num_classes = sizes.pop() if sizes else len(names)
    names += [f'output {i}' for i in range(len(names), num_classes)]
    return RunResults(
        config,
        run.read_environment(),
        names[:num_classes],
        metrics,
        read_machine(run),
        evaluations,
    )
