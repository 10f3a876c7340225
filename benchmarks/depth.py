"""Benchmark of depth: compilation time, step time and memory, with named and with looped blocks.

    python benchmarks/depth.py [--depths 18 50 ... 1001] [--ways named looped ...] [--json FILE]

It measures the training step of each network on one device in float32: ImageNet's depths with
batches of four images of 64 px, CIFAR's depths with batches of eight images of 32 px. Each line is
measured in a new process with an empty compilation cache. Memory is what the compiler assigns for
activations, gradients and scratch. ResNet-1001 with named blocks compiles for minutes.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

WAYS = {
    'named': {},
    'looped': {'scan_blocks': True},
    'named, remat': {'remat': 'blocks'},
    'looped, remat': {'scan_blocks': True, 'remat': 'blocks'},
}
DEPTHS = (18, 34, 50, 101, 152, 200, 269, 20, 110, 164, 1001)


def measure(depth: int, way: str, num_steps: int) -> dict[str, float]:
    """Measures one network.

    Args:
      depth: depth of the network.
      way: how blocks are built, a key of `WAYS`.
      num_steps: number of timed steps.

    Returns:
      Seconds to create the state and to compile a step, median seconds of a step, and memory of a
      step in bytes.
    """
    import jax
    import numpy as np

    from resnet_jax.config import schema
    from resnet_jax.config.depths import IMAGENET_BLOCKS
    from resnet_jax.devices import backend, parallel
    from resnet_jax.models import initialization, resnet, stacking
    from resnet_jax.training import optimizers, schedules, state
    from resnet_jax.training.train_step import make_train_step

    config = schema.get_config()
    imagenet = depth in IMAGENET_BLOCKS
    config.model.update({'depth': depth, 'variant': 'timm', 'dtype': 'float32'} | WAYS[way])
    config.model.stem = 'imagenet' if imagenet else 'cifar'
    config.model.width = 64 if imagenet else 16
    size, batch_size = (64, 4) if imagenet else (32, 8)
    mesh = backend.start_devices(1)
    model = resnet.create_model(config, 10, axis_name=parallel.AXIS)
    optimizer = optimizers.make_optimizer(config, schedules.make_schedule(config, 1000))
    start = time.perf_counter()
    variables = initialization.init_variables(model, size, seed=0, kernel_init='he_fan_out')
    variables = stacking.stack_blocks(variables, model.num_scanned)
    train_state = state.create_state(config, variables, optimizer)
    train_state = parallel.replicate(train_state, mesh)
    init_seconds = time.perf_counter() - start
    batch = {
        'image': np.random.default_rng(0).integers(0, 256, (batch_size, size, size, 3), np.uint8),
        'label': np.arange(batch_size, dtype=np.int32) % 10,
        'mask': np.ones(batch_size, bool),
    }
    batch = parallel.shard(batch, mesh)
    p_step = parallel.p_map(make_train_step(config, model, optimizer), mesh, donate=True)
    start = time.perf_counter()
    compiled = p_step.lower(train_state, batch).compile()
    compile_seconds = time.perf_counter() - start
    seconds = []
    for _ in range(num_steps + 1):
        start = time.perf_counter()
        train_state, _ = jax.block_until_ready(p_step(train_state, batch))
        seconds.append(time.perf_counter() - start)
    return {
        'init_seconds': init_seconds,
        'compile_seconds': compile_seconds,
        'step_seconds': statistics.median(seconds[1:]),
        'memory_bytes': compiled.memory_analysis().temp_size_in_bytes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--depths', type=int, nargs='+', default=DEPTHS, choices=DEPTHS)
    parser.add_argument('--ways', nargs='+', default=list(WAYS), choices=list(WAYS))
    parser.add_argument('--steps', type=int, default=5)
    parser.add_argument('--json', type=Path, help='file for all measurements')
    parser.add_argument('--only', action='store_true', help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        [depth], [way] = arguments.depths, arguments.ways
        print(json.dumps(measure(depth, way, arguments.steps)))
        return
    measurements = []
    print('| depth | blocks | weights s | compilation s | step s | memory MB |')
    print('|---|---|---|---|---|---|')
    for depth in arguments.depths:
        for way in arguments.ways:
            command = (
                *(sys.executable, __file__, f'--depths={depth}', '--only'),
                *('--ways', way, f'--steps={arguments.steps}'),
            )
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            row = json.loads(output.splitlines()[-1])
            measurements.append({'depth': depth, 'blocks': way} | row)
            print(
                f'| {depth} | {way} | {row["init_seconds"]:.1f} | {row["compile_seconds"]:.1f} '
                f'| {row["step_seconds"]:.3f} | {row["memory_bytes"] / 1e6:.0f} |',
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(measurements, indent=2) + '\n')


if __name__ == '__main__':
    main()
