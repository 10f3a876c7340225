"""Compares the training step with plain Flax in XLA's defaults and with PyTorch.

    python benchmarks/train_step.py [--depths 18 50] [--torch_python=PATH] [--json]

The same network, ResNet v2 in timm's variant, on one device, from uint8 images in memory. Each peer
is a process of its own; they step in turns. PyTorch may live in another interpreter.
"""

import argparse
import importlib.util
import sys

import rounds

BATCH_SIZES = {18: 16, 34: 16, 50: 8, 101: 8, 152: 4}
BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


def serve_ours(depth: int, batch_size: int, size: int, dtype: str) -> None:
    """Serves the real step of this project."""
    import jax
    import numpy as np

    from resnet_jax import base_config, parallel
    from resnet_jax.models import initialization, resnet
    from resnet_jax.training import optimizers, schedules, state, steps

    config = base_config.get_config()
    config.model.update({'depth': depth, 'variant': 'timm', 'dtype': dtype})
    config.data.image_size = size
    mesh = parallel.start_devices(1)
    model = resnet.create_model(config, 1000, axis_name=parallel.AXIS)
    optimizer = optimizers.make_optimizer(config, schedules.make_schedule(config, 1000))
    variables = initialization.init_variables(model, size, seed=0, kernel_init='he_fan_out')
    train_state = state.create_state(config, variables, optimizer)
    box = [parallel.replicate(train_state, mesh)]
    images, labels = draw(batch_size, size)
    mask = np.ones(batch_size, bool)
    batch = parallel.shard({'image': images, 'label': labels, 'mask': mask}, mesh)
    p_step = parallel.p_map(steps.make_train_step(config, model, optimizer), mesh, donate=True)

    def run():
        box[0], metrics = p_step(box[0], batch)
        jax.block_until_ready((box[0], metrics))

    rounds.serve(run, {'parameters': count(variables['params'])})


def serve_flax(depth: int, batch_size: int, size: int, dtype: str) -> None:
    """Serves plain Flax."""
    import jax
    import optax
    import plain_flax

    model = plain_flax.PlainResNet(BLOCKS[depth], depth >= 50)
    images, labels = (jax.numpy.array(array) for array in draw(batch_size, size))
    variables = jax.jit(model.init, static_argnames='train')(
        jax.random.key(0), images[:1], train=False
    )
    parameters = count(variables['params'])
    optimizer = optax.chain(
        optax.add_decayed_weights(1e-4), optax.sgd(0.1, momentum=0.9, nesterov=True)
    )
    box = [(variables, optimizer.init(variables['params']))]
    step = plain_flax.make_step(model, optimizer)

    def run():
        *box[0], _ = jax.block_until_ready(step(*box[0], images, labels))

    rounds.serve(run, {'parameters': parameters})


def serve_torch(depth: int, batch_size: int, size: int, dtype: str) -> None:
    """Serves PyTorch."""
    import plain_torch

    model, train, _ = plain_torch.make_runs(BLOCKS[depth], depth >= 50, batch_size, size)
    rounds.serve(train, {'parameters': sum(array.numel() for array in model.parameters())})


def draw(batch_size: int, size: int):
    """Returns images and labels."""
    import numpy as np

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch_size, size, size, 3), np.uint8)
    return images, rng.integers(0, 1000, batch_size, np.int32)


def count(params) -> int:
    """Returns the number of learnable numbers."""
    import jax

    return sum(array.size for array in jax.tree.leaves(params))


SERVERS = {'ours': serve_ours, 'plain Flax': serve_flax, 'PyTorch': serve_torch}


def start_peers(script: str, torch_python: str, flags: list[str]) -> dict[str, rounds.Peer]:
    """Starts the processes of all peers that can be had.

    Raises:
      RuntimeError: when their networks have different numbers of parameters.
    """
    interpreters = dict.fromkeys(SERVERS, sys.executable)
    interpreters['PyTorch'] = torch_python
    if not torch_python and not importlib.util.find_spec('torch'):
        del interpreters['PyTorch']
    peers = {
        name: rounds.Peer(
            [interpreter or sys.executable, script, f'--serve={name}', *flags],
            plain=name == 'plain Flax',
        )
        for name, interpreter in interpreters.items()
    }
    numbers = {name: peer.facts['parameters'] for name, peer in peers.items()}
    if len(set(numbers.values())) > 1:
        raise RuntimeError(f'expected the same network everywhere, found parameters {numbers}')
    return peers


def parse_arguments(description: str, default_rounds: int) -> argparse.Namespace:
    """Defines the flags that the comparisons with peers share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('--depths', type=int, nargs='+', default=[18, 50], choices=sorted(BLOCKS))
    parser.add_argument('--batch_size', type=int, default=0, help='0: for a CPU, by the depth')
    parser.add_argument('--size', type=int, default=224, help='of the images, px')
    parser.add_argument('--dtype', default='float32', help='of our computation')
    parser.add_argument('--rounds', type=int, default=default_rounds)
    parser.add_argument('--torch_python', default='', help='interpreter that has PyTorch')
    parser.add_argument('--json', action='store_true')
    parser.add_argument('--serve', choices=list(SERVERS), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Compares, or is one of the peers."""
    arguments = parse_arguments(__doc__.split('\n')[0], 15)
    found = {}
    for depth in arguments.depths:
        batch_size = arguments.batch_size or BATCH_SIZES[depth]
        if arguments.serve:
            SERVERS[arguments.serve](depth, batch_size, arguments.size, arguments.dtype)
            return
        flags = [f'--depths={depth}', f'--batch_size={batch_size}', f'--size={arguments.size}']
        flags.append(f'--dtype={arguments.dtype}')
        peers = start_peers(__file__, arguments.torch_python, flags)
        seconds = rounds.compare(peers, arguments.rounds)
        subject = f'ResNet-{depth}, batch {batch_size}, step'
        found[subject] = rounds.summarise(seconds, 'ours', batch_size)
    rounds.report(found, as_json=arguments.json)


if __name__ == '__main__':
    main()
