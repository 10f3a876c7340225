"""Training from a config to the last checkpoint, or on from where an earlier call stopped."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import jax
import optax
from absl import logging
from clu import metric_writers
from jax.sharding import Mesh, Sharding
from ml_collections import ConfigDict

from resnet_jax import parallel, validation
from resnet_jax.data import pipeline, sources
from resnet_jax.evaluation import metrics
from resnet_jax.evaluation.evaluator import Evaluator
from resnet_jax.models import resnet
from resnet_jax.monitoring import environment, terminal
from resnet_jax.training import optimizers, restoring, schedules, steps
from resnet_jax.training.checkpoints import Checkpoints, require_same_arrays
from resnet_jax.training.reporting import Report
from resnet_jax.training.state import TrainState, abstract_state, create_state
from resnet_jax.types import InputError
from resnet_jax.workdir import Workdir


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


@dataclasses.dataclass(frozen=True)
class Job:
    """All that a run's steps need and that does not change while it goes on."""

    config: ConfigDict
    workdir: Workdir
    mesh: Mesh
    train_source: sources.Source
    evaluator: Evaluator
    model: resnet.ResNet
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule
    steps_per_epoch: int

    @property
    def last_step(self) -> int:
        return self.config.num_epochs * self.steps_per_epoch


def train(config: ConfigDict, folder: Path, screen: terminal.Terminal) -> None:
    """Trains in a folder until the config's last epoch is done and saved.

    Args:
      config: valid (`validation.validate`).
      folder: a run's, to continue it from its latest checkpoint, or a new one.
      screen: where progress is shown.

    Raises:
      InputError: when the data, the devices, or the run in the folder do not fit the config.
    """
    workdir = Workdir(folder)
    if workdir.has_run():
        _require_same_run(config, workdir)
    mesh = parallel.start_devices(config.num_devices)
    validation.validate_shares(config.batch_size, mesh.devices.size)
    if workdir.has_run():
        epochs_done = _epochs_done(workdir)
        if epochs_done >= config.num_epochs:
            _say_complete(workdir, epochs_done)
            return
    job = _prepare(config, workdir, mesh)
    with Checkpoints(workdir.checkpoints, keep=config.keep_checkpoints) as checkpoints:
        state, sums = _initial_state(job, checkpoints)
        _write_description(job)
        with metric_writers.ensure_flushes(_create_writer(workdir, screen)) as writer:
            _run_steps(job, state, sums, checkpoints, writer, screen)
        checkpoints.wait()
    screen.show_progress('')
    _say_complete(workdir, config.num_epochs)


def _require_same_run(config: ConfigDict, workdir: Workdir) -> None:
    free, locked = validation.differences(workdir.read_config(), config)
    if locked:
        lines = [f'  {field}: {old!r} there, {new!r} now' for field, (old, new) in locked.items()]
        raise InputError(
            f'{workdir.path}: expected the config that its run began with, found other values in\n'
            + '\n'.join(lines)
            + '\nTake them back, or choose another --workdir.'
        )
    for field, (old, new) in free.items():
        logging.info('config.%s is now %r, was %r', field, new, old)


def _epochs_done(workdir: Workdir) -> float:
    with Checkpoints(workdir.checkpoints, read_only=True) as checkpoints:
        latest = checkpoints.latest()
        return 0 if latest is None else checkpoints.read_metadata(latest)['epoch']


def _say_complete(workdir: Workdir, epochs_done: float) -> None:
    last = workdir.read_metrics()[-1]
    logging.info(
        '%s: complete, %g epochs are done; validation top-1 %.2f%%, top-5 %.2f%%',
        workdir.path,
        epochs_done,
        100 * float(last['validation_top1']),
        100 * float(last['validation_top5']),
    )


def _prepare(config: ConfigDict, workdir: Workdir, mesh: Mesh) -> Job:
    """Opens the data and builds what runs on the devices."""
    data = config.data
    train_source = sources.load_source(config, data.train_split)
    validation_source = sources.load_source(config, data.validation_split)
    validation.validate_classes(config, train_source.class_names, validation_source.class_names)
    steps_per_epoch = pipeline.compute_steps_per_epoch(train_source.num_examples, config.batch_size)
    workdir.create()
    model = resnet.create_model(config, len(train_source.class_names), axis_name=parallel.AXIS)
    schedule = schedules.make_schedule(config, steps_per_epoch)
    return Job(
        config=config,
        workdir=workdir,
        mesh=mesh,
        train_source=train_source,
        evaluator=Evaluator(
            config,
            model,
            validation_source,
            mesh,
            split='validation',
            batch_size=config.batch_size,
        ),
        model=model,
        optimizer=optimizers.make_optimizer(config, schedule),
        schedule=schedule,
        steps_per_epoch=steps_per_epoch,
    )


def _initial_state(job: Job, checkpoints: Checkpoints) -> tuple[TrainState, metrics.Sums]:
    """Returns the latest checkpoint's state and sums of metrics, or those of a new run."""
    config, sharding = job.config, parallel.replicated(job.mesh)
    latest = checkpoints.latest()
    if latest is not None:
        state = checkpoints.restore(
            latest, abstract_state(config, job.model, job.optimizer), sharding
        )
        logging.info('%s: continuing from step %d', job.workdir.path, latest)
        return state, checkpoints.read_metadata(latest)['train_sums']
    if config.initial_weights:
        variables = _read_initial_weights(job, sharding)
    else:
        variables = resnet.init_variables(
            job.model,
            config.data.image_size,
            seed=config.seed,
            kernel_init=config.model.kernel_init,
        )
    state = create_state(config, variables, job.optimizer)
    return jax.device_put(state, sharding), {}


def _read_initial_weights(job: Job, sharding: Sharding) -> dict:
    """Reads the parameters and statistics of another run's best checkpoint."""
    other = restoring.load_trained_model(
        Workdir(Path(job.config.initial_weights)), 'best', sharding
    )
    expected = resnet.abstract_variables(job.model, job.config.data.image_size)
    require_same_arrays(expected, other.variables, what=job.config.initial_weights)
    logging.info('weights of step %d of %s', other.step, job.config.initial_weights)
    return other.variables


def _write_description(job: Job) -> None:
    """Writes the small files of the run, and says what is about to be trained."""
    config, devices = job.config, list(job.mesh.devices.flat)
    names = job.train_source.class_names
    job.workdir.write_config(config)
    job.workdir.write_class_names(names)
    job.workdir.write_environment(environment.describe_environment(devices))
    unreached = schedules.unreached_boundaries(config)
    if unreached:
        logging.info(
            'config.schedule.boundaries_epochs: %s never fire in a run of %d epochs',
            ', '.join(f'{epoch:g}' for epoch in unreached),
            config.num_epochs,
        )
    params = resnet.abstract_variables(job.model, config.data.image_size)['params']
    logging.info(
        'ResNet-%d v2 (%s), %s parameters; %s: %d training examples, %d classes; '
        '%d epochs of %d steps of %d images on %d devices (%s); writing to %s',
        config.model.depth,
        config.model.variant,
        f'{sum(math.prod(array.shape) for array in jax.tree.leaves(params)):,}',
        config.data.name,
        job.train_source.num_examples,
        len(names),
        config.num_epochs,
        job.steps_per_epoch,
        config.batch_size,
        len(devices),
        devices[0].device_kind,
        job.workdir.path,
    )


def _create_writer(workdir: Workdir, screen: terminal.Terminal) -> metric_writers.MetricWriter:
    """Returns CLU's writer to TensorBoard, and to the log where there is no progress line."""
    folder = str(workdir.tensorboard)
    if screen.interactive:
        return metric_writers.AsyncMultiWriter([metric_writers.SummaryWriter(folder)])
    return metric_writers.create_default_writer(folder)


def _run_steps(
    job: Job,
    state: TrainState,
    sums: metrics.Sums,
    checkpoints: Checkpoints,
    writer: metric_writers.MetricWriter,
    screen: terminal.Terminal,
) -> None:
    config, start_step = job.config, int(state.step)
    log = Period(config.log_every_steps, job.last_step)
    evaluation = Period(config.evaluate_every_epochs * job.steps_per_epoch, job.last_step)
    checkpoint = Period(config.checkpoint_every_epochs * job.steps_per_epoch, job.last_step)
    report = Report(
        job.workdir,
        writer,
        screen,
        sums=sums,
        start_step=start_step,
        last_step=job.last_step,
        steps_per_epoch=job.steps_per_epoch,
        batch_size=config.batch_size,
    )
    p_train_step = parallel.p_map(
        steps.make_train_step(config, job.model, job.optimizer), job.mesh, donate=True
    )
    batches = pipeline.train_batches(job.train_source, config, start_step=start_step)
    for step, batch in enumerate(pipeline.prefetch(batches, _put_on(job.mesh)), start_step + 1):
        state, step_metrics = p_train_step(state, batch)
        report.add(step, step_metrics)
        if log.is_due(step):
            report.log(step, float(job.schedule(step - 1)))
        if evaluation.is_due(step) or checkpoint.is_due(step):
            with report.clock_stopped(step):
                result = None
                if evaluation.is_due(step):
                    result = job.evaluator.run(state.evaluation_variables(), step=step)
                    report.add_row(step, float(job.schedule(step - 1)), result)
                if checkpoint.is_due(step):
                    _save(job, checkpoints, state, step, report.sums, result)


def _save(
    job: Job,
    checkpoints: Checkpoints,
    state: TrainState,
    step: int,
    sums: metrics.Sums,
    result: metrics.EvaluationResult | None,
) -> None:
    metadata = {'step': step, 'epoch': step / job.steps_per_epoch, 'train_sums': sums}
    scores = result and {'top5': result.top5, 'top1': result.top1, 'loss': result.loss}
    checkpoints.save(state, metadata, scores)


def _put_on(mesh: Mesh) -> Callable[[dict], dict]:
    """Returns the function that starts a training batch on its way to the devices."""

    def put(batch: dict) -> dict:
        return parallel.shard({key: batch[key] for key in ('image', 'label', 'mask')}, mesh)

    return put
