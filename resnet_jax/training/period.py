"""Periods of steps."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Period:
    """Decides when something that is done every so many steps is due.

    Attributes:
      every: steps.
      last: the last step of the run, when it is due in any case.
    """

    every: int
    last: int

    def is_due(self, step: int) -> bool:
        """Says whether it is due when `step` steps are done."""
        return step % self.every == 0 or step == self.last
