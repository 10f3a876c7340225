"""Saving of an imported run's evaluation, from which its report is made."""

from absl import logging

from resnet_jax.errors import InputError, RunFailed
from resnet_jax.evaluation.confusion_files import SavedConfusion, save_confusion
from resnet_jax.evaluation.metrics import EvaluationResult
from resnet_jax.storage.workdir import Workdir


def save_if_imported(workdir: Workdir, result: EvaluationResult) -> None:
    """Saves the evaluation of an imported run on its validation split; replaces an earlier one.

    Training saves its own evaluations, so nothing is written for a run that was trained in its
    folder, or continued there. If the files cannot be written, the log says so.

    Args:
      workdir: folder of the run.
      result: result of the evaluation.
    """
    try:
        if not _is_imported(workdir):
            return
        with workdir.locked():
            if _is_imported(workdir):  # a training can have started meanwhile
                _save(workdir, result)
    except (InputError, RunFailed) as error:
        logging.warning('the evaluation is not saved, so the report lacks it: %s', error)


def _is_imported(workdir: Workdir) -> bool:
    """Returns whether the run has imported weights and no step was trained in its folder."""
    return 'weights' in workdir.read_environment() and not any(
        int(row['step']) for row in workdir.read_metrics()
    )


def _save(workdir: Workdir, result: EvaluationResult) -> None:
    saved = SavedConfusion(result.step, 0.0, result.counts)
    save_confusion(workdir.confusion_file(result.step), saved)
    row = {
        'step': result.step,
        'epoch': '0',
        'validation_loss': result.loss,
        'validation_top1': result.top1,
        'validation_top5': result.top5,
    }
    workdir.write_metrics([row])
    logging.info('%s: saved the evaluation; the command report can show it', workdir.path)
