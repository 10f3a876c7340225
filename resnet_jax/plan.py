"""Command that prints the plan of a run: its size, steps, FLOPs, memory and time.

    python -m resnet_jax.plan --config=FILE[:DATA] [--num_devices=4]

It needs no GPU, and no data if the data set is a known one. The last line of the output is a JSON
object.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from absl import flags as absl_flags

from resnet_jax.config import flags
from resnet_jax.storage.files import write_bytes

_CONFIG = flags.define_config()
_NUM_DEVICES = absl_flags.DEFINE_integer(
    'num_devices', 0, "Devices that share each batch; 0 = the config's, or 4.", lower_bound=0
)
_IMAGES_PER_SECOND = absl_flags.DEFINE_float(
    'images_per_second', None, 'Assumed speed of training, to estimate the time.'
)
_FIGURE = flags.define_figure('the learning rate')


def main(arguments: Sequence[str]) -> None:
    """Prints the plan of a config, and draws its learning rate with `--figure`."""
    flags.require_no_arguments(arguments)
    from resnet_jax.planning import plan as planning
    from resnet_jax.planning.text import format_plan

    config = _CONFIG.value
    plan = planning.make_plan(
        config, num_devices=_NUM_DEVICES.value, images_per_second=_IMAGES_PER_SECOND.value
    )
    print(format_plan(plan, config))
    if _FIGURE.value:
        title = flags.config_name()
        write_bytes(Path(_FIGURE.value), planning.draw_schedule(plan, config, title))
    print(json.dumps(dataclasses.asdict(plan)))


if __name__ == '__main__':
    flags.run(main)
