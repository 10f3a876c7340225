"""Command that predicts the classes of images.

    python -m resnet_jax.predict --workdir=DIR IMAGE [IMAGE ...]

With `--figure=out.png` it also draws the images, each with bars for its five classes.
"""

import sys
from collections.abc import Sequence

from resnet_jax.config import flags
from resnet_jax.devices import compilation_cache
from resnet_jax.errors import InputError

_WORKDIR = flags.define_workdir()
_CHECKPOINT = flags.define_checkpoint()
_FIGURE = flags.define_figure('each image with bars for its five classes')
_COMPILATION_CACHE_DIR = flags.define_compilation_cache(compilation_cache.default_folder())


def main(arguments: Sequence[str]) -> int:
    """Prints the five most probable classes of each image.

    Returns:
      The exit status: 1 if an image cannot be read, else 0. The other images are still predicted.

    Raises:
      InputError: if there are no images.
      RunFailed: if the figure cannot be written.
    """
    images = arguments[1:]
    if not images:
        raise InputError('expected at least one image after the flags, found none; add its path')
    from resnet_jax.console import terminal
    from resnet_jax.run import Run

    terminal.set_up_logging()
    compilation_cache.use(_COMPILATION_CACHE_DIR.value)
    figure = None
    if _FIGURE.value:
        from resnet_jax.reports.prediction_figure import PredictionFigure

        figure = PredictionFigure(_FIGURE.value, len(images))
    predictor = Run(_WORKDIR.value).predictor(_CHECKPOINT.value)
    status = 0
    for image in images:
        try:
            [predictions] = predictor.predict([image])
            if figure:
                figure.add(image, predictions)
        except InputError as error:
            print(error, file=sys.stderr)
            status = 1
            continue
        print(f'{image}: {predictions[0].name}')
        for rank, (_, name, probability) in enumerate(predictions, 1):
            print(f'  {rank}  {probability:7.2%}  {name}')
    if figure:
        figure.save()
    return status


if __name__ == '__main__':
    flags.run(main)
