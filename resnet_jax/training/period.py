"""Periods in steps: when logging, evaluations and checkpoints are due."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Period:
    """Decides when a periodic action of a run is due.

    Attributes:
      every: period in steps.
      last: last step of the run, after which the action is always due.
    """

    every: int
    last: int

    def is_due(self, step: int) -> bool:
        """Returns whether the action is due after `step` steps."""
        return step % self.every == 0 or step == self.last
