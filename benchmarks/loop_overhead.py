"""Benchmark of the training loop against a bare loop that only calls the same compiled step.

    python benchmarks/loop_overhead.py [--steps=50] [--rounds=3] [--json]

Both train ResNet-18 at 224 px with batch 16 on one device, on batches in memory. The training loop
logs every tenth step. In a third measurement it also saves a checkpoint in the background half-way.
The first and the last five steps are not timed, so that neither compilation nor the final
evaluation counts.
"""

import argparse
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
import rounds

from resnet_jax.config import schema
from resnet_jax.console import signals, terminal
from resnet_jax.data import pipeline
from resnet_jax.data.sources import registry
from resnet_jax.devices import backend, compilation_cache, parallel
from resnet_jax.models import initialization, resnet
from resnet_jax.training import loop, optimizers, schedules, state
from resnet_jax.training.train_step import make_train_step

EDGE = 5
"""Number of steps at each end of a run that are not timed."""


class InMemory:
    """Replacement for a split of a data set: the same batch in every step.

    Args:
      config: config of the run, with `num_steps_in_memory`.
      split: name of the split.
    """

    class_names = tuple(str(index) for index in range(1000))

    def __init__(self, config, split):
        size = config.data.image_size
        rng = np.random.default_rng(0)
        is_train = split == config.data.train_split
        self.num_examples = config.batch_size * (config.num_steps_in_memory if is_train else 1)
        self.batch = {
            'image': rng.integers(0, 256, (config.batch_size, size, size, 3), np.uint8),
            'label': rng.integers(0, 1000, config.batch_size, np.int32),
            'mask': np.ones(config.batch_size, bool),
            'id': np.arange(config.batch_size),
        }


def make_config(num_steps: int, size: int, batch_size: int):
    """Returns the config of a run of one epoch with `num_steps` steps."""
    config = schema.get_config()
    config.model.dtype = 'float32'
    config.num_epochs, config.num_devices, config.batch_size = 1, 1, batch_size
    config.data.image_size = size
    config.data.resize_size = size
    config.log_every_steps = 10
    config.schedule.name = 'constant'
    config.num_steps_in_memory = num_steps
    return config


def time_loop(config, checkpoint_every: int) -> float:
    """Returns the seconds that a step of the training loop takes.

    Args:
      config: config of the run.
      checkpoint_every: period of checkpoints in steps; 0 for none before the end.
    """
    config = config.copy_and_resolve_references()
    config.checkpoint_every_steps = checkpoint_every
    times = []  # when each batch was requested

    def train_batches(source, *_, **__):
        for _ in range(config.num_steps_in_memory):
            times.append(time.perf_counter())
            yield source.batch

    registry.load_source = InMemory
    pipeline.train_batches = train_batches
    pipeline.evaluation_batches = lambda source, *_, **__: iter([source.batch])
    with tempfile.TemporaryDirectory() as folder, signals.stop_requests() as request:
        loop.train(config, Path(folder) / 'run', terminal.set_up_logging(), request)
    return (times[-EDGE] - times[EDGE]) / (len(times) - 2 * EDGE)


class Bare:
    """Bare loop: the same training step and nothing else.

    Args:
      config: config of the run.
    """

    def __init__(self, config):
        mesh = backend.start_devices(1)
        model = resnet.create_model(config, 1000, axis_name=parallel.AXIS)
        schedule = schedules.make_schedule(config, config.num_steps_in_memory)
        optimizer = optimizers.make_optimizer(config, schedule)
        variables = initialization.init_variables(
            model, config.data.image_size, seed=0, kernel_init='he_fan_out'
        )
        self.state = parallel.replicate(state.create_state(config, variables, optimizer), mesh)
        batch = InMemory(config, 'train').batch
        self.batch = parallel.shard({key: batch[key] for key in ('image', 'label', 'mask')}, mesh)
        step = make_train_step(config, model, optimizer)
        self.p_step = parallel.p_map(step, mesh, donate=True)
        self.time(1)

    def time(self, num_steps: int) -> float:
        """Returns the seconds that a step takes, as a mean over `num_steps` steps."""
        start = time.perf_counter()
        for _ in range(num_steps):
            self.state, metrics = self.p_step(self.state, self.batch)
        jax.block_until_ready((self.state, metrics))
        return (time.perf_counter() - start) / num_steps


def main() -> None:
    """Times the bare loop, and the training loop without and with a checkpoint, in turns."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--steps', type=int, default=50)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--size', type=int, default=224)
    parser.add_argument('--batch_size', type=int, default=16)
    parser.add_argument('--json', action='store_true')
    arguments = parser.parse_args()
    config = make_config(arguments.steps, arguments.size, arguments.batch_size)
    with tempfile.TemporaryDirectory() as cache:
        compilation_cache.use(cache)
        bare = Bare(config)
        seconds = {'bare': [], 'loop': [], 'loop, checkpoint': []}
        for _ in range(arguments.rounds):
            seconds['bare'].append(bare.time(arguments.steps - 2 * EDGE))
            seconds['loop'].append(time_loop(config, 0))
            seconds['loop, checkpoint'].append(time_loop(config, arguments.steps // 2))
    tables = {'ResNet-18, step': rounds.summarise(seconds, 'bare', arguments.batch_size)}
    rounds.report(tables, as_json=arguments.json)


if __name__ == '__main__':
    main()
