"""What a run needs before its first step: data, network, optimizer, state."""

import dataclasses
import math

import jax
import optax
from absl import logging
from jax.sharding import Mesh
from ml_collections import ConfigDict

from resnet_jax.checkpoints.format import Metadata
from resnet_jax.checkpoints.recovery import restore_newest
from resnet_jax.config import checks
from resnet_jax.console.signals import StopRequest
from resnet_jax.data import pipeline
from resnet_jax.data.source import Source
from resnet_jax.data.sources import loading
from resnet_jax.devices import parallel, processes
from resnet_jax.evaluation.evaluator import Evaluator
from resnet_jax.models import initialization, resnet, stacking
from resnet_jax.monitoring import environment
from resnet_jax.storage.workdir import Workdir
from resnet_jax.training import initial_weights, optimizers, schedules
from resnet_jax.training.continuing import require_same_data
from resnet_jax.training.state import TrainState, abstract_state, create_state


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
    train_source = loading.load_source(config, data.train_split)
    validation_source = loading.load_source(config, data.validation_split)
    checks.validate_classes(
        config,
        train_source.class_names,
        validation_source.class_names,
        where=f'splits {data.train_split!r} and {data.validation_split!r}',
    )
    require_same_data(config, workdir, train_source, validation_source)
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
            model.compute_logits,
            validation_source,
            mesh,
            num_classes=model.num_classes,
            split='validation',
            batch_size=config.batch_size,
        ),
        model=model,
        optimizer=optimizers.make_optimizer(config, schedule),
        schedule=schedule,
        steps_per_epoch=steps_per_epoch,
        request=request,
    )


def initial_state(job: Job) -> tuple[TrainState, Metadata]:
    """Returns the state and metadata of the newest whole checkpoint, or those of a new run.

    Blocks that the network computes in a loop are stacked.
    """
    config, num_scanned = job.config, job.model.num_scanned
    restored = restore_newest(
        job.workdir.checkpoints,
        abstract_state(config, job.model, job.optimizer),
        parallel.replicated(job.mesh),
        may_move=processes.is_first_process(),
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
