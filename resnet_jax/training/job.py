"""What a run needs before its first step: data, network, optimizer, state."""

import dataclasses
import math

import jax
import optax
from absl import logging
from jax.sharding import Mesh
from ml_collections import ConfigDict

from resnet_jax import parallel, validation
from resnet_jax.data import pipeline, sources
from resnet_jax.data.split import Source
from resnet_jax.evaluation.evaluator import Evaluator
from resnet_jax.models import initialization, resnet, stacking
from resnet_jax.monitoring import environment
from resnet_jax.monitoring.signals import StopRequest
from resnet_jax.training import checkpoints, initial_weights, optimizers, restoring, schedules
from resnet_jax.training.checkpoints import Metadata
from resnet_jax.training.state import TrainState, abstract_state, create_state
from resnet_jax.types import InputError
from resnet_jax.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class Job:
    """All that a run's steps need and that does not change while it goes on."""

    config: ConfigDict
    workdir: Workdir
    mesh: Mesh
    train_source: Source
    evaluator: Evaluator
    model: resnet.ResNet
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule
    steps_per_epoch: int
    request: StopRequest

    @property
    def last_step(self) -> int:
        return self.config.num_epochs * self.steps_per_epoch


def prepare_job(config: ConfigDict, workdir: Workdir, mesh: Mesh, request: StopRequest) -> Job:
    """Opens the data and builds what runs on the devices."""
    data = config.data
    train_source = sources.load_source(config, data.train_split)
    validation_source = sources.load_source(config, data.validation_split)
    validation.validate_classes(
        config,
        train_source.class_names,
        validation_source.class_names,
        where=f'splits {data.train_split!r} and {data.validation_split!r}',
    )
    _require_same_data(config, workdir, train_source, validation_source)
    steps_per_epoch = pipeline.compute_steps_per_epoch(train_source.num_examples, config.batch_size)
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
        request=request,
    )


def _require_same_data(
    config: ConfigDict,
    workdir: Workdir,
    train_source: Source,
    validation_source: Source,
) -> None:
    """Checks that the data of a run that is continued are those that it began with.

    Raises:
      InputError: when their classes or numbers differ.
    """
    before = workdir.read_environment().get('num_examples') if workdir.has_run() else None
    if before is None:
        return
    validation.validate_classes(
        config,
        workdir.read_class_names(),
        train_source.class_names,
        where=f'{workdir.path} and split {config.data.train_split!r}',
    )
    now = [train_source.num_examples, validation_source.num_examples]
    if before != now:
        raise InputError(
            f'{workdir.path}: expected the {before} training and validation examples that its run '
            f'began with, found {now}; bring the data back, or choose another --workdir'
        )


def initial_state(job: Job) -> tuple[TrainState, Metadata]:
    """Returns the state and metadata of the newest whole checkpoint, or those of a new run.

    Blocks that the network computes in a loop are stacked.
    """
    config, num_scanned = job.config, job.model.num_scanned
    restored = checkpoints.restore_newest(
        job.workdir.checkpoints,
        abstract_state(config, job.model, job.optimizer),
        parallel.replicated(job.mesh),
        may_move=parallel.is_first_process(),
    )
    if restored:
        state, metadata = restored
        logging.info('%s: continuing from step %d', job.workdir.path, metadata.step)
        if any(num_scanned):
            on_host = jax.device_get(state)  # arrays of several processes cannot be put elsewhere
            state = parallel.replicate(stacking.stack_blocks(on_host, num_scanned), job.mesh)
        return state, metadata
    if config.initial_weights:
        variables = initial_weights.read_initial_weights(
            config, job.model, job.mesh.local_devices[0]
        )
    else:
        variables = initialization.init_variables(
            job.model,
            config.data.image_size,
            seed=config.seed,
            kernel_init=config.model.kernel_init,
        )
    variables = stacking.stack_blocks(variables, num_scanned)
    state = create_state(config, variables, job.optimizer)
    return parallel.replicate(state, job.mesh), Metadata(0, 0.0, {}, None)


def write_description(job: Job) -> None:
    """Writes the small files of the run, and says what is about to be trained."""
    config, devices = job.config, list(job.mesh.devices.flat)
    names = job.train_source.class_names
    job.workdir.write_config(config)
    job.workdir.write_class_names(names)
    num_examples = [job.train_source.num_examples, job.evaluator.num_examples]
    job.workdir.write_environment(
        environment.describe_environment(devices) | {'num_examples': num_examples}
    )
    unreached = schedules.unreached_boundaries(config)
    if unreached:
        logging.info(
            'config.schedule.boundaries_epochs: %s never fire in a run of %d epochs',
            ', '.join(f'{epoch:g}' for epoch in unreached),
            config.num_epochs,
        )
    params = initialization.abstract_variables(job.model, config.data.image_size)['params']
    logging.info(
        'ResNet-%d v2 (%s), %s parameters; %s: %d training examples, %d classes; '
        '%d epochs of %d steps of %d images on %d devices (%s); writing to %s',
        config.model.depth,
        config.model.variant,
        f'{sum(math.prod(array.shape) for array in jax.tree.leaves(params)):,}',
        config.data.dir if config.data.source == 'folder' else config.data.name,
        job.train_source.num_examples,
        len(names),
        config.num_epochs,
        job.steps_per_epoch,
        config.batch_size,
        len(devices),
        devices[0].device_kind,
        job.workdir.path,
    )


def require_same_run(config: ConfigDict, workdir: Workdir) -> bool:
    """Compares a config with that of the run in a folder.

    Returns:
      Whether it differs, in fields that are free to change; each is logged.

    Raises:
      InputError: when it differs in others; lists them.
    """
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
    return bool(free)


def is_complete(config: ConfigDict, workdir: Workdir, mesh: Mesh) -> bool:
    """Says whether the last epoch of a run is done, and its result can be read."""
    steps_saved = checkpoints.list_steps(workdir.checkpoints)
    try:
        last = checkpoints.read_metadata(workdir.checkpoints, steps_saved[-1])
        if last.epoch < config.num_epochs or last.scores is None:
            return False
        restoring.load_trained_model(workdir, last.step, parallel.replicated(mesh))
    except (IndexError, InputError):  # none, or a damaged one, which restoring will deal with
        return False
    return True


def say_complete(workdir: Workdir) -> None:
    """Logs what a complete run came to."""
    step = checkpoints.list_steps(workdir.checkpoints)[-1]
    last = checkpoints.read_metadata(workdir.checkpoints, step)
    logging.info(
        '%s: complete, %g epochs are done; validation top-1 %.2f%%, top-5 %.2f%%',
        workdir.path,
        last.epoch,
        100 * last.scores['top1'],
        100 * last.scores['top5'],
    )
