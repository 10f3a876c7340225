"""Command that writes the report of a run: `python -m resnet_jax.report --workdir=DIR`.

It writes figures, a table of confused pairs, and `index.html` with everything to `DIR/report/`.
Nothing is evaluated again. The run can still be in progress.
"""

import sys
import webbrowser
from collections.abc import Sequence

from absl import flags as absl_flags

from resnet_jax.config import flags

_WORKDIR = flags.define_workdir()
_OPEN = absl_flags.DEFINE_boolean(
    'open', True, 'Open the page in a browser, if the output is a terminal.'
)
_ORDER = absl_flags.DEFINE_enum(
    'order', 'index', ['index', 'similarity'], 'Order of the classes in the confusion matrices.'
)


def main(arguments: Sequence[str]) -> None:
    """Writes the report of a run, and prints the path of its page."""
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
