"""Draws what a run has to show: `python -m resnet_jax.report --workdir=DIR [--open=false]`.

Writes `DIR/report/`: pictures, the confused pairs, and `index.html` with everything in it. Nothing
is evaluated again, and the run may be going on.
"""

import sys
import webbrowser
from collections.abc import Sequence

from absl import flags as absl_flags

from resnet_jax.config import flags

_WORKDIR = flags.define_workdir()
_OPEN = absl_flags.DEFINE_boolean('open', True, 'Open the page in a browser, from a terminal.')
_ORDER = absl_flags.DEFINE_enum(
    'order', 'index', ['index', 'similarity'], 'Of the classes in the confusion matrices.'
)


def main(arguments: Sequence[str]) -> None:
    """Writes the report of a run, and prints where it is."""
    flags.require_no_arguments(arguments)
    from pathlib import Path

    from resnet_jax.reports import report
    from resnet_jax.storage.workdir import Workdir

    path = report.write_report(Workdir(Path(_WORKDIR.value)), _ORDER.value)
    print(path)
    if _OPEN.value and sys.stdout.isatty():
        webbrowser.open(path.absolute().as_uri())


if __name__ == '__main__':
    flags.run(main)
