"""Training loop: from a config to the last checkpoint, in one session or in several."""

import contextlib
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from absl import logging
from jax.sharding import Mesh
from ml_collections import ConfigDict

from resnet_jax.checkpoints.format import Metadata, Scores
from resnet_jax.checkpoints.writing import CheckpointWriter
from resnet_jax.config import checks
from resnet_jax.config.leading_metric import leading_metric
from resnet_jax.console.signals import StopRequest
from resnet_jax.console.terminal import Terminal
from resnet_jax.data import padding, pipeline, prefetching
from resnet_jax.data.epochs import compute_image_sizes
from resnet_jax.devices import backend, parallel, processes
from resnet_jax.errors import Stopped
from resnet_jax.models import stacking
from resnet_jax.monitoring.machine import Machine
from resnet_jax.monitoring.machine_log import MachineLog
from resnet_jax.monitoring.throughput import InputWait
from resnet_jax.storage.workdir import Workdir
from resnet_jax.training.continuing import (
    is_complete,
    keep_best_metric,
    require_same_run,
    say_complete,
)
from resnet_jax.training.health import make_health_check
from resnet_jax.training.metrics_logger import MetricsLogger
from resnet_jax.training.period import Period
from resnet_jax.training.setup import Job, initial_state, prepare_job, write_description
from resnet_jax.training.state import TrainState
from resnet_jax.training.train_step import make_train_step
from resnet_jax.types import Batch


def train(config: ConfigDict, folder: Path, screen: Terminal, request: StopRequest) -> None:
    """Trains in a folder until the config's last epoch is done and saved.

    Args:
      config: valid config (`checks.validate`).
      folder: folder of the run. It is created for a new run; a run that is already there is
        continued from its newest undamaged checkpoint.
      screen: terminal on which progress is shown.
      request: request to stop, which is checked between steps and between batches of an evaluation.

    Raises:
      InputError: if the data, the devices, or the run in the folder do not fit the config.
      RunFailed: if the run cannot continue; what was saved before stays intact.
      Stopped: if a stop was requested; the step in progress has been finished and saved.
    """
    workdir = Workdir(folder)
    had_run = workdir.has_run()
    config = keep_best_metric(config, workdir)
    changed = had_run and require_same_run(config, workdir)
    mesh = backend.start_devices(config.num_devices, deterministic=config.deterministic)
    checks.validate_shares(config.batch_size, mesh.devices.size, config.optimizer.accumulate_steps)
    if not processes.is_first_process():
        logging.set_verbosity(logging.WARNING)
    if had_run and is_complete(config, workdir, mesh):
        if changed and processes.is_first_process():
            workdir.write_config(config)
        say_complete(workdir)
        return
    job = prepare_job(config, workdir, mesh, request)
    workdir.create()
    with contextlib.ExitStack() as stack:
        stack.callback(screen.show_progress, '')
        if processes.is_first_process():
            stack.enter_context(workdir.locked())
            if workdir.has_run() and not had_run:  # another process has started one
                require_same_run(config, workdir)
        request.raise_if_made()
        state, metadata = initial_state(job)
        if processes.is_first_process():
            write_description(job)
        leading = leading_metric(config, len(job.train_source.class_names))
        checkpoint_writer = stack.enter_context(
            CheckpointWriter(workdir.checkpoints, keep=config.keep_checkpoints, leading=leading)
        )
        metrics_logger = MetricsLogger(
            workdir,
            screen,
            writes_files=processes.is_first_process(),
            machine_log=_open_machine_log(job, metadata.step),
            sums=metadata.train_sums,
            start_step=metadata.step,
            last_step=job.last_step,
            steps_per_epoch=job.steps_per_epoch,
            batch_size=config.batch_size,
            image_size=config.data.image_size,
            leading=leading,
        )
        _run_steps(job, state, metadata, metrics_logger, checkpoint_writer)
        checkpoint_writer.wait()
    say_complete(workdir)


def _open_machine_log(job: Job, start_step: int) -> MachineLog | None:
    """Returns the log of this machine in the first process, None in the others."""
    if not processes.is_first_process():
        return None
    return MachineLog(job.workdir.machine_csv, Machine(job.mesh.local_devices), start_step)


def _run_steps(
    job: Job,
    state: TrainState,
    metadata: Metadata,
    metrics_logger: MetricsLogger,
    writer: CheckpointWriter,
) -> None:
    """Runs the steps after `metadata.step`, with the evaluations and checkpoints that are due."""
    config, start_step, last_step = job.config, metadata.step, job.last_step
    log = Period(config.log_every_steps, last_step)
    evaluation = Period(config.evaluate_every_epochs * job.steps_per_epoch, last_step)
    epoch_checkpoint = Period(config.checkpoint_every_epochs * job.steps_per_epoch, last_step)
    step_checkpoint = Period(config.checkpoint_every_steps or last_step, last_step)
    epoch_end = Period(job.steps_per_epoch, last_step)
    check_health = make_health_check(job.mesh)
    if start_step and evaluation.is_due(start_step) and metadata.scores is None:
        _evaluate_saved_step(job, state, start_step, metrics_logger, writer)
    if start_step == last_step:
        return
    batches = pipeline.train_batches(
        job.train_source,
        config,
        start_step=start_step,
        process=processes.this_process(),
    )
    batches = prefetching.start_first(batches)  # while the step compiles
    p_train_step = _compile_train_step(job, state, start_step)
    healthy_step, last_shape = start_step, None
    input_wait = InputWait()
    timed_batches = input_wait.timed(prefetching.prefetch(batches, _put_on(job.mesh)))
    for step, (batch, seconds_waited) in enumerate(timed_batches, start_step + 1):
        may_compile = batch['image'].shape != last_shape
        with metrics_logger.clock_stopped() if may_compile else contextlib.nullcontext():
            state, step_metrics = p_train_step(state, batch)
            metrics_logger.add(step, step_metrics, seconds_waited)
        last_shape = batch['image'].shape
        input_wait.watch(step_metrics)
        if log.is_due(step):
            metrics_logger.log(step, float(job.schedule(step - 1)))
        stop = _requested_signal(job, log.is_due(step))
        save = stop != 0 or epoch_checkpoint.is_due(step) or step_checkpoint.is_due(step)
        if not (save or evaluation.is_due(step) or epoch_end.is_due(step)):
            continue
        with metrics_logger.clock_stopped():
            check_health(state, healthy_step + 1, step)
            healthy_step = step
            scores = None
            if evaluation.is_due(step) and not stop:
                scores = _evaluate(job, state, step, metrics_logger)
                stop = _requested_signal(job, False) if scores is None else 0
            if save or stop:
                writer.save(
                    _state_to_save(job, state), _metadata(job, step, metrics_logger, scores)
                )
        if stop:
            writer.wait()
            raise _stopped(job, step, stop)


def _compile_train_step(job: Job, state: TrainState, start_step: int) -> Callable:
    """Returns the mapped training step, compiled for the image size of the next epoch.

    A call with images of this size runs the program that is compiled here.
    """
    train_step = make_train_step(job.config, job.model, job.optimizer)
    p_train_step: Any = parallel.p_map(train_step, job.mesh, donate=True)
    size = compute_image_sizes(job.config)[start_step // job.steps_per_epoch]
    blank = padding.blank_batch(job.config.batch_size // jax.process_count(), size)
    p_train_step.lower(state, _put_on(job.mesh)(blank)).compile()
    return p_train_step


def _evaluate_saved_step(
    job: Job,
    state: TrainState,
    step: int,
    metrics_logger: MetricsLogger,
    writer: CheckpointWriter,
) -> None:
    """Evaluates a step that was saved without an evaluation, and saves it again with the scores.

    Raises:
      Stopped: if a stop was requested meanwhile.
    """
    scores = _evaluate(job, state, step, metrics_logger)
    if scores is None:
        raise _stopped(job, step, _requested_signal(job, False))
    writer.replace(_state_to_save(job, state), _metadata(job, step, metrics_logger, scores))


def _evaluate(
    job: Job, state: TrainState, step: int, metrics_logger: MetricsLogger
) -> Scores | None:
    """Evaluates a step and logs the result; returns None if a stop was requested meanwhile."""
    between_batches = job.request.raise_if_made if jax.process_count() == 1 else lambda: None
    try:
        result = job.evaluator.run(
            state.evaluation_variables(), step=step, between_batches=between_batches
        )
    except Stopped:
        return None
    metrics_logger.add_row(step, float(job.schedule(step - 1)), result)
    return {'top5': result.top5, 'top1': result.top1, 'loss': result.loss}


def _requested_signal(job: Job, may_ask_others: bool) -> int:
    """Returns the number of a signal that asked a process to stop, or 0; the same in all processes.

    Several processes exchange their requests only where `may_ask_others` is true.
    """
    received = int(job.request.signal or 0)
    if jax.process_count() == 1:
        return received
    return processes.largest(received) if may_ask_others else 0


def _stopped(job: Job, step: int, number: int) -> Stopped:
    return Stopped(
        number,
        f'{job.workdir.path}: stopped by {signal.Signals(number).name} at step {step} of '
        f'{job.last_step}, which is saved; the same command continues from there',
    )


def _metadata(
    job: Job, step: int, metrics_logger: MetricsLogger, scores: Scores | None
) -> Metadata:
    return Metadata(step, step / job.steps_per_epoch, metrics_logger.sums, scores)


def _state_to_save(job: Job, state: TrainState) -> TrainState:
    """Returns the state in the layout of checkpoints: unstacked, replicated over all processes."""
    if any(job.model.num_scanned):
        unstacked = stacking.unstack_blocks(state, job.model.num_scanned)
        state = parallel.replicate(unstacked, job.mesh)
    return parallel.across_processes(state, job.mesh)


def _put_on(mesh: Mesh) -> Callable[[Batch], dict[str, jax.Array]]:
    """Returns a function that starts copying a batch to the devices, without waiting for it."""

    def put(batch: Batch) -> dict[str, jax.Array]:
        arrays = {'image': batch['image'], 'label': batch['label'], 'mask': batch['mask']}
        return parallel.shard(arrays, mesh)

    return put
