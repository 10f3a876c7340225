"""Benchmark of the training step against plain Flax with XLA's defaults, PyTorch and Keras.

    python benchmarks/train_step.py [--depths 18 50] [--torch_python=PATH] [--json]

For small images, add `--depths=18 --stem=cifar --size=8 --batch_size=128`; for a deep network in
loops, `--depths=1001 --size=32 --scan_blocks`.

All train the same network, ResNet v2 in timm's variant, on one device, on uint8 images in memory.
Each peer runs in its own process, and the peers take turns. PyTorch can run in another interpreter.
"""

import argparse
import importlib.util
import sys

import rounds
from networks import BATCH_SIZES, NUM_CLASSES, make_network


def serve_ours(arguments: argparse.Namespace) -> None:
    """Serves this project's training step."""
    import jax
    import numpy as np

    from resnet_jax.devices import backend, parallel
    from resnet_jax.models import initialization, resnet, stacking
    from resnet_jax.training import optimizers, schedules, state
    from resnet_jax.training.train_step import make_train_step

    config = make_config(arguments)
    mesh = backend.start_devices(1)
    model = resnet.create_model(config, NUM_CLASSES, axis_name=parallel.AXIS)
    optimizer = optimizers.make_optimizer(config, schedules.make_schedule(config, 1000))
    variables = initialization.init_variables(
        model, arguments.size, seed=0, kernel_init='he_fan_out'
    )
    parameters = count(variables['params'])
    variables = stacking.stack_blocks(variables, model.num_scanned)
    box = [parallel.replicate(state.create_state(config, variables, optimizer), mesh)]
    images, labels = draw(arguments)
    mask = np.ones(len(labels), bool)
    batch = parallel.shard({'image': images, 'label': labels, 'mask': mask}, mesh)
    p_step = parallel.p_map(make_train_step(config, model, optimizer), mesh, donate=True)

    def run():
        box[0], metrics = p_step(box[0], batch)
        jax.block_until_ready((box[0], metrics))

    rounds.serve(run, {'parameters': parameters})


def make_config(arguments: argparse.Namespace):
    """Returns this project's config for the network."""
    from resnet_jax.config import schema

    [depth] = arguments.depths
    network = make_network(depth, arguments.stem)
    config = schema.get_config()
    config.model.update(
        {
            'depth': depth,
            'variant': 'timm',
            'dtype': arguments.dtype,
            'stem': network.stem,
            'width': network.width,
            'scan_blocks': arguments.scan_blocks,
        }
    )
    config.data.image_size = arguments.size
    return config


def serve_flax(arguments: argparse.Namespace) -> None:
    """Serves the training step in plain Flax."""
    import jax
    import optax
    import plain_flax

    images, labels = (jax.numpy.array(array) for array in draw(arguments))
    model = plain_flax.PlainResNet(make_network(arguments.depths[0], arguments.stem))
    variables = plain_flax.make_variables(model, images)
    parameters = count(variables['params'])
    optimizer = optax.chain(
        optax.add_decayed_weights(1e-4), optax.sgd(0.1, momentum=0.9, nesterov=True)
    )
    box = [(variables, optimizer.init(variables['params']))]
    step = plain_flax.make_step(model, optimizer)

    def run():
        *box[0], _ = jax.block_until_ready(step(*box[0], images, labels))

    rounds.serve(run, {'parameters': parameters})


def serve_torch(arguments: argparse.Namespace) -> None:
    """Serves the training step in PyTorch."""
    import plain_torch

    network = make_network(arguments.depths[0], arguments.stem)
    model, train, _ = plain_torch.make_runs(network, arguments.batch_size, arguments.size)
    rounds.serve(train, {'parameters': sum(array.numel() for array in model.parameters())})


def serve_keras(arguments: argparse.Namespace) -> None:
    """Serves the training step in Keras."""
    import plain_keras

    network = make_network(arguments.depths[0], arguments.stem)
    model, train, _ = plain_keras.make_runs(network, *draw(arguments))
    rounds.serve(train, {'parameters': plain_keras.count(model)})


def draw(arguments: argparse.Namespace):
    """Returns random images, uint8 `[N, S, S, 3]`, and labels, int32 `[N]`."""
    import numpy as np

    rng = np.random.default_rng(0)
    size, batch_size = arguments.size, arguments.batch_size
    images = rng.integers(0, 256, (batch_size, size, size, 3), np.uint8)
    return images, rng.integers(0, NUM_CLASSES, batch_size, np.int32)


def count(params) -> int:
    """Returns the number of learnable parameters."""
    import jax

    return sum(array.size for array in jax.tree.leaves(params))


SERVERS = {
    'ours': serve_ours,
    'plain Flax': serve_flax,
    'PyTorch': serve_torch,
    'Keras': serve_keras,
}


PEERS = list(SERVERS)[1:]


def start_peers(script: str, arguments: argparse.Namespace) -> dict[str, rounds.Peer]:
    """Starts the processes of all peers that are installed, for one depth.

    Args:
      script: path of the benchmark that serves the peers.
      arguments: flags of the benchmark.

    Raises:
      RuntimeError: if their networks have different numbers of parameters.
    """
    flags = [
        f'--{name}={getattr(arguments, name)}' for name in ('batch_size', 'size', 'stem', 'dtype')
    ]
    flags += [f'--depths={arguments.depths[0]}'] + ['--scan_blocks'] * arguments.scan_blocks
    peers = {}
    for name in SERVERS:
        if name not in ('ours', *arguments.peers):
            continue
        interpreter = sys.executable
        if name == 'PyTorch':
            interpreter = arguments.torch_python or interpreter
            if interpreter == sys.executable and not importlib.util.find_spec('torch'):
                print('PyTorch is not installed: set --torch_python', file=sys.stderr)
                continue
        command = [interpreter, script, f'--serve={name}', *flags]
        peers[name] = rounds.Peer(command, plain=name == 'plain Flax')
    numbers = {name: peer.facts['parameters'] for name, peer in peers.items()}
    if len(set(numbers.values())) > 1:
        raise RuntimeError(f'expected the same network in all peers, found {numbers} parameters')
    return peers


def parse_arguments(description: str, default_rounds: int) -> argparse.Namespace:
    """Defines the flags that the comparisons with peers share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('--depths', type=int, nargs='+', default=[18, 50], choices=BATCH_SIZES)
    parser.add_argument('--stem', default='imagenet', choices=('imagenet', 'cifar'))
    parser.add_argument('--batch_size', type=int, default=0, help='0: for CPUs, by the depth')
    parser.add_argument('--size', type=int, default=224, help='height and width of images in px')
    parser.add_argument('--dtype', default='float32', help='dtype of our computation')
    parser.add_argument('--scan_blocks', action='store_true', help='use loops in our network')
    parser.add_argument('--rounds', type=int, default=default_rounds)
    parser.add_argument('--peers', nargs='+', default=PEERS, choices=PEERS)
    parser.add_argument('--torch_python', default='', help='interpreter that has PyTorch')
    parser.add_argument('--json', action='store_true')
    parser.add_argument('--serve', choices=list(SERVERS), help=argparse.SUPPRESS)
    return parser.parse_args()


def describe(arguments: argparse.Namespace) -> str:
    """Returns the name of a measurement: network, image size and batch size."""
    return f'ResNet-{arguments.depths[0]}, {arguments.size} px, batch {arguments.batch_size}'


def main() -> None:
    """Compares the peers, or serves one of them in its own process."""
    arguments = parse_arguments(__doc__.split('\n')[0], 15)
    if arguments.serve:
        SERVERS[arguments.serve](arguments)
        return
    tables = {}
    for depth in arguments.depths:
        batch_size = arguments.batch_size or BATCH_SIZES[depth]
        case = argparse.Namespace(**vars(arguments) | {'depths': [depth], 'batch_size': batch_size})
        seconds = rounds.compare(start_peers(__file__, case), arguments.rounds)
        tables[f'{describe(case)}, step'] = rounds.summarise(seconds, 'ours', batch_size)
    rounds.report(tables, as_json=arguments.json)


if __name__ == '__main__':
    main()
