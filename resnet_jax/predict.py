"""Command that predicts the classes of images.

    python -m resnet_jax.predict --workdir=DIR IMAGE [IMAGE ...]

An IMAGE can also be a folder, with folders inside, or a quoted pattern such as 'summer/**/*.jpg'.
With `--figure=out.png` it also draws the images, each with bars for its five classes.
"""

import sys
from collections.abc import Sequence

from absl import flags as absl_flags

from resnet_jax.config import flags, ranges
from resnet_jax.devices import compilation_cache
from resnet_jax.errors import InputError

_WORKDIR = flags.define_workdir()
_CHECKPOINT = flags.define_checkpoint()
_TOP_K = absl_flags.DEFINE_integer(
    'top_k', 5, 'Classes to print for each image.', 1, int(ranges.RANGES['model.num_classes'][1])
)
_JSON = absl_flags.DEFINE_bool('json', False, 'Print a line of JSON for each image.')
_EXIF_ORIENTATION = absl_flags.DEFINE_bool(
    'exif_orientation',
    None,
    "Turn images as their EXIF says; by default, as the run's config says.",
)
_FIGURE = flags.define_figure('each image with bars for its five classes')
_COMPILATION_CACHE_DIR = flags.define_compilation_cache(compilation_cache.default_folder())


def main(arguments: Sequence[str]) -> int:
    """Prints the most probable classes of each image.

    Returns:
      The exit status: 1 if an image cannot be read, else 0. The other images are still predicted.

    Raises:
      InputError: if there are no images.
      RunFailed: if the figure cannot be written.
    """
    from resnet_jax.console import terminal
    from resnet_jax.inference.image_paths import expand_images
    from resnet_jax.inference.prediction_text import to_json, to_text
    from resnet_jax.run import Run

    terminal.set_up_logging()
    compilation_cache.use(_COMPILATION_CACHE_DIR.value)
    images = expand_images(arguments[1:])
    run, figure = Run(_WORKDIR.value), None
    upright = _EXIF_ORIENTATION.value
    upright = run.config.data.exif_orientation if upright is None else upright
    if _FIGURE.value:
        from resnet_jax.reports.prediction_figure import PredictionFigure

        figure = PredictionFigure(_FIGURE.value, len(images), exif_orientation=upright)
    predictor = run.predictor(_CHECKPOINT.value, upright)
    status = 0
    for image, result in zip(images, predictor.predict_each(images, _TOP_K.value), strict=True):
        try:
            if isinstance(result, InputError):
                raise result
            if figure:
                figure.add(image, result)
        except InputError as error:
            status = 1
            if _JSON.value:
                print(to_json(image, error))
            else:
                print(error, file=sys.stderr)
        else:
            print((to_json if _JSON.value else to_text)(image, result))
    if figure:
        figure.save()
    return status


if __name__ == '__main__':
    flags.run(main)
