"""Set-up of a training run: data, network, optimizer, first state and description files."""

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
from resnet_jax.console.wording import format_count
from resnet_jax.data.epochs import compute_steps_per_epoch
from resnet_jax.data.source import Source
from resnet_jax.data.sources import registry
from resnet_jax.devices import parallel, processes
from resnet_jax.evaluation.evaluator import Evaluator
from resnet_jax.models import initialization, resnet, stacking
from resnet_jax.monitoring import environment
from resnet_jax.storage.workdir import Workdir
from resnet_jax.training import initial_weights, optimizers, schedules
from resnet_jax.training.advice import list_warnings
from resnet_jax.training.continuing import require_same_data, warn_of_other_devices
from resnet_jax.training.state import TrainState, abstract_state, create_state


@dataclasses.dataclass(frozen=True)
class Job:
    """Everything that the steps of a run need and that does not change between them.

    Attributes:
      config: config of the run.
      workdir: folder of the run.
      mesh: devices of all processes.
      train_source: training split.
      evaluator: evaluator of the validation split.
      model: network that is trained.
      optimizer: optimizer with the learning rate of `schedule`.
      schedule: learning rate as a function of the step.
      steps_per_epoch: number of steps in an epoch.
      request: request to stop.
    """

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
        """Number of steps of the whole run."""
        return self.config.num_epochs * self.steps_per_epoch


def prepare_job(config: ConfigDict, workdir: Workdir, mesh: Mesh, request: StopRequest) -> Job:
    """Opens the data and creates everything that runs on the devices, except the state.

    Raises:
      InputError: if the data cannot be opened, or does not fit the config or the run.
    """
    data = config.data
    train_source = registry.load_source(config, data.train_split)
    validation_source = registry.load_source(config, data.validation_split)
    checks.validate_classes(
        config,
        train_source.class_names,
        validation_source.class_names,
        where=f'splits {data.train_split!r} and {data.validation_split!r}',
    )
    require_same_data(config, workdir, train_source, validation_source)
    steps_per_epoch = compute_steps_per_epoch(train_source.num_examples, config.batch_size)
    checks.validate_num_steps(config, steps_per_epoch)
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
    """Returns the state and metadata of the newest undamaged checkpoint, or those of a new run.

    The state is replicated. Blocks that the network computes in a loop are stacked.

    Raises:
      InputError: if there are checkpoints and all are damaged, or if `config.initial_weights` does
        not fit the network.
    """
    return _restore_state(job) or (_create_state(job), Metadata(0, 0.0, {}, None))


def _restore_state(job: Job) -> tuple[TrainState, Metadata] | None:
    """Reads the newest undamaged checkpoint; returns None if there is no checkpoint."""
    restored = restore_newest(
        job.workdir.checkpoints,
        abstract_state(job.config, job.model, job.optimizer),
        parallel.replicated(job.mesh),
        may_move=processes.is_first_process(),
    )
    if not restored:
        return None
    state, metadata = restored
    logging.info('%s: continuing from step %d', job.workdir.path, metadata.step)
    if metadata.step and processes.is_first_process():
        warn_of_other_devices(job.config, job.workdir, job.mesh)
    if any(job.model.num_scanned):
        on_host = jax.device_get(state)  # arrays of several processes cannot be moved directly
        stacked = stacking.stack_blocks(on_host, job.model.num_scanned)
        state = parallel.replicate(stacked, job.mesh)
    return state, metadata


def _create_state(job: Job) -> TrainState:
    """Returns the state at step 0, with the weights of another run or newly initialised ones."""
    config = job.config
    if config.initial_weights:
        variables = initial_weights.read_initial_weights(
            config, job.model, job.train_source.class_names, job.mesh.local_devices[0]
        )
    else:
        variables = initialization.init_variables(
            job.model,
            config.data.image_size,
            seed=config.seed,
            kernel_init=config.model.kernel_init,
        )
    variables = stacking.stack_blocks(variables, job.model.num_scanned)
    return parallel.replicate(create_state(config, variables, job.optimizer), job.mesh)


def write_description(job: Job) -> None:
    """Writes the config, class names and environment of a run, and logs what is trained."""
    config, devices = job.config, list(job.mesh.devices.flat)
    class_names = job.train_source.class_names
    job.workdir.write_config(config)
    job.workdir.write_class_names(class_names)
    num_examples = [job.train_source.num_examples, job.evaluator.num_examples]
    job.workdir.write_environment(
        environment.describe_environment(devices) | {'num_examples': num_examples}
    )
    for warning in list_warnings(config, num_examples[0], job.steps_per_epoch):
        logging.warning('%s', warning)
    logging.info('%s', _describe_job(job))


def _describe_job(job: Job) -> str:
    """Returns what is trained, on what and where, in one line."""
    config, devices = job.config, list(job.mesh.devices.flat)
    params = initialization.abstract_variables(job.model, config.data.image_size)['params']
    num_params = sum(math.prod(array.shape) for array in jax.tree.leaves(params))
    data = config.data.dir if config.data.source == 'folder' else config.data.name
    counts = [
        format_count(config.num_epochs, 'epoch'),
        format_count(job.steps_per_epoch, 'step'),
        format_count(config.batch_size, 'image'),
    ]
    return (
        f'ResNet-{config.model.depth} v2 ({config.model.variant}), {num_params:,} parameters; '
        f'{data}: {format_count(job.train_source.num_examples, "training example")}, '
        f'{format_count(len(job.train_source.class_names), "class", "classes")}; '
        f'{" of ".join(counts)} on {format_count(len(devices), "device")} '
        f'({devices[0].device_kind}); writing to {job.workdir.path}'
    )
