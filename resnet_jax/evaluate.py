"""Command that evaluates a checkpoint of a run.

    python -m resnet_jax.evaluate --workdir=DIR [--data_dir=...] [--split=...] [--checkpoint=...]

The last line of the output is a JSON object, in which accuracies are fractions.
"""

import json
from collections.abc import Sequence

from absl import flags as absl_flags

from resnet_jax.config import flags
from resnet_jax.devices import compilation_cache

_WORKDIR = flags.define_workdir()
_CHECKPOINT = flags.define_checkpoint()
_COMPILATION_CACHE_DIR = flags.define_compilation_cache(compilation_cache.default_folder())
_SPLIT = absl_flags.DEFINE_string('split', 'validation', 'Split to evaluate: validation or train.')
_DATA_DIR = flags.define_path('data_dir', '', "Folder of the data; empty = the config's data.dir.")
_BATCH_SIZE = absl_flags.DEFINE_integer(
    'batch_size',
    0,
    "Images a step; 0 = the config's. In bfloat16, another number can change the predictions for a "
    'few images, because it changes how numbers are rounded.',
)
_AUDIT_MXNET_R = absl_flags.DEFINE_integer(
    'audit_mxnet_r',
    None,
    "Also compute what MXNet's R package called top-5 in 2016, in slices of this many examples; "
    'see docs/the-2016-number.md.',
)


def main(arguments: Sequence[str]) -> None:
    """Evaluates a checkpoint of a run, and prints a table and a line of JSON."""
    flags.require_no_arguments(arguments)
    from resnet_jax.console import terminal
    from resnet_jax.run import Run

    screen = terminal.set_up_logging()
    compilation_cache.use(_COMPILATION_CACHE_DIR.value)
    run = Run(_WORKDIR.value)
    result = run.evaluate(
        _SPLIT.value,
        _CHECKPOINT.value,
        _BATCH_SIZE.value,
        _AUDIT_MXNET_R.value,
        data_dir=_DATA_DIR.value,
        screen=screen,
    )
    first, second = ('1', '5') if run.leading_metric == 'top1' else ('5', '1')
    table = {
        'run': _WORKDIR.value,
        'split': f'{result.split}, {result.num_examples:,} examples',
        'weights': f'step {result.step}' + (', averaged over steps' if result.averaged else ''),
        **({'errors': f'{result.num_errors:,}'} if result.num_errors else {}),
        'loss': f'{result.loss:.4f}',
        f'top-{first}': f'{getattr(result, f"top{first}"):.2%}',
        f'top-{second}': f'{getattr(result, f"top{second}"):.2%}',
    }
    fields = ['split', 'step', 'num_examples', 'num_errors', 'loss', 'top1', 'top5']
    if result.mxnet_r_top5 is not None:
        table['mxnet_r_top5'] = f'{result.mxnet_r_top5:.2%}, which is not a top-5 accuracy'
        fields.append('mxnet_r_top5')
    for name, value in table.items():
        print(f'{name:12} {value}')
    print(json.dumps({field: getattr(result, field) for field in fields}))


if __name__ == '__main__':
    flags.run(main)
