"""Compares the forward pass with plain Flax in XLA's defaults and with PyTorch.

    python benchmarks/inference.py [--depths 18 50] [--torch_python=PATH] [--json]

The same network, ResNet v2 in timm's variant, on one device, from uint8 images in memory: 32 at a
time and one. Then what the project adds to its forward pass: the evaluator on a split in memory and
a predictor on one decoded image.
"""

import functools

import rounds
from train_step import BLOCKS, count, draw, parse_arguments, start_peers

BATCH_SIZE = 32


def serve_ours(depth: int, batch_size: int, size: int, dtype: str) -> None:
    """Serves this project's forward pass."""
    import jax

    from resnet_jax import parallel

    mesh = parallel.start_devices(1)
    _, model, variables = make_ours(depth, size, dtype)
    variables = parallel.replicate(variables, mesh)
    images = jax.device_put(draw(batch_size, size)[0], parallel.replicated(mesh))
    forward = jax.jit(functools.partial(model.apply, train=False))
    run = lambda: forward(variables, images).block_until_ready()  # noqa: E731
    rounds.serve(run, {'parameters': count(variables['params'])})


def make_ours(depth: int, size: int, dtype: str):
    """Returns a config, its network and new variables."""
    from resnet_jax import base_config
    from resnet_jax.models import initialization, resnet

    config = base_config.get_config()
    config.model.update({'depth': depth, 'variant': 'timm', 'dtype': dtype})
    config.data.image_size = size
    model = resnet.create_model(config, 1000)
    return (
        config,
        model,
        initialization.init_variables(model, size, seed=0, kernel_init='he_fan_out'),
    )


def serve_flax(depth: int, batch_size: int, size: int, dtype: str) -> None:
    """Serves plain Flax."""
    import jax
    import plain_flax

    model = plain_flax.PlainResNet(BLOCKS[depth], depth >= 50)
    images = jax.numpy.array(draw(batch_size, size)[0])
    variables = jax.jit(model.init, static_argnames='train')(
        jax.random.key(0), images[:1], train=False
    )
    forward = jax.jit(functools.partial(model.apply, train=False))
    run = lambda: forward(variables, images).block_until_ready()  # noqa: E731
    rounds.serve(run, {'parameters': count(variables['params'])})


def serve_torch(depth: int, batch_size: int, size: int, dtype: str) -> None:
    """Serves PyTorch."""
    import plain_torch

    model, _, infer = plain_torch.make_runs(BLOCKS[depth], depth >= 50, batch_size, size)
    rounds.serve(infer, {'parameters': sum(array.numel() for array in model.parameters())})


SERVERS = {'ours': serve_ours, 'plain Flax': serve_flax, 'PyTorch': serve_torch}


def compare_with_forward(depth: int, batch_size: int, size: int, num_rounds: int) -> dict:
    """Times the evaluator and the predictor and, in turns, the forward passes inside them."""
    import time

    import jax

    from resnet_jax import parallel
    from resnet_jax.data import pipeline
    from resnet_jax.evaluation import evaluator
    from resnet_jax.inference import predictor
    from resnet_jax.training.restoring import TrainedModel

    mesh = parallel.start_devices(1)
    config, model, variables = make_ours(depth, size, 'float32')
    variables = parallel.replicate(variables, mesh)
    forward = jax.jit(functools.partial(model.apply, train=False))
    images, labels = draw(batch_size, size)
    num_batches = 4
    batches = [
        {
            'image': images,
            'label': labels,
            'mask': labels >= 0,
            'id': range_of(i * batch_size, batch_size),
        }
        for i in range(num_batches)
    ]
    pipeline.evaluation_batches = lambda *_, **__: iter(batches)  # decoding is not the subject
    source = type('InMemory', (), {'num_examples': num_batches * batch_size})()
    evaluate = evaluator.Evaluator(
        config, model, source, mesh, split='validation', batch_size=batch_size
    )
    names = tuple(str(index) for index in range(1000))
    trained = TrainedModel(config, names, model, variables, 0)
    predict = predictor.Predictor(trained).predict
    on_device, one = jax.device_put(images), jax.device_put(images[:1])

    def forward_all():
        for _ in range(num_batches):
            forward(variables, on_device).block_until_ready()

    runs = {
        'split': {
            'evaluator': lambda: evaluate.run(variables, step=0),
            'forward': forward_all,
        },
        'one image': {
            'predictor': lambda: predict([images[0]]),
            'forward': lambda: forward(variables, one).block_until_ready(),
        },
    }
    found = {}
    for subject, pair in runs.items():
        seconds = {name: [] for name in pair}
        for turn in range(num_rounds + 1):
            for name, run in pair.items():
                start = time.perf_counter()
                run()
                if turn:  # the first one compiles
                    seconds[name].append(time.perf_counter() - start)
        number = num_batches * batch_size if subject == 'split' else 1
        found[f'ResNet-{depth}, {subject}'] = rounds.summarise(seconds, next(iter(pair)), number)
    return found


def range_of(start: int, length: int):
    """Returns ids."""
    import numpy as np

    return np.arange(start, start + length)


def main() -> None:
    """Compares, or is one of the peers."""
    arguments = parse_arguments(__doc__.split('\n')[0], 15)
    found = {}
    for depth in arguments.depths:
        if arguments.serve:
            server = SERVERS[arguments.serve]
            server(depth, arguments.batch_size, arguments.size, arguments.dtype)
            return
        for batch_size in (arguments.batch_size or BATCH_SIZE, 1):
            flags = [f'--depths={depth}', f'--batch_size={batch_size}', f'--size={arguments.size}']
            flags.append(f'--dtype={arguments.dtype}')
            peers = start_peers(__file__, arguments.torch_python, flags)
            seconds = rounds.compare(peers, arguments.rounds)
            subject = f'ResNet-{depth}, batch {batch_size}, forward'
            found[subject] = rounds.summarise(seconds, 'ours', batch_size)
    for depth in arguments.depths:
        found |= compare_with_forward(depth, BATCH_SIZE, arguments.size, arguments.rounds)
    rounds.report(found, as_json=arguments.json)


if __name__ == '__main__':
    main()
