"""Benchmark of the forward pass against plain Flax with XLA's defaults, PyTorch and Keras.

    python benchmarks/inference.py [--depths 18 50] [--torch_python=PATH] [--json]

All run the same network, ResNet v2 in timm's variant, on one device, on uint8 images in memory: in
batches of 32 and of one. Then it measures what this project adds to its forward pass: the evaluator
on a split in memory, and a predictor on one decoded image.
"""

import argparse
import functools

import rounds
from networks import NUM_CLASSES, make_network
from train_step import count, describe, draw, make_config, parse_arguments, start_peers

BATCH_SIZE = 32


def serve_ours(arguments: argparse.Namespace) -> None:
    """Serves this project's forward pass."""
    import jax

    from resnet_jax.devices import backend, parallel

    mesh = backend.start_devices(1)
    _, model, variables = make_ours(arguments)
    parameters = count(variables['params'])
    variables = parallel.replicate(variables, mesh)
    images = jax.device_put(draw(arguments)[0], parallel.replicated(mesh))
    forward = jax.jit(functools.partial(model.apply, train=False))
    run = lambda: forward(variables, images).block_until_ready()  # noqa: E731
    rounds.serve(run, {'parameters': parameters})


def make_ours(arguments: argparse.Namespace):
    """Returns a config, its network and its initial variables."""
    from resnet_jax.models import initialization, resnet, stacking

    config = make_config(arguments)
    model = resnet.create_model(config, NUM_CLASSES)
    variables = initialization.init_variables(
        model, arguments.size, seed=0, kernel_init='he_fan_out'
    )
    return config, model, stacking.stack_blocks(variables, model.num_scanned)


def serve_flax(arguments: argparse.Namespace) -> None:
    """Serves the forward pass in plain Flax."""
    import jax
    import plain_flax

    model = plain_flax.PlainResNet(make_network(arguments.depths[0], arguments.stem))
    images = jax.numpy.array(draw(arguments)[0])
    variables = plain_flax.make_variables(model, images)
    forward = jax.jit(functools.partial(model.apply, train=False))
    run = lambda: forward(variables, images).block_until_ready()  # noqa: E731
    rounds.serve(run, {'parameters': count(variables['params'])})


def serve_torch(arguments: argparse.Namespace) -> None:
    """Serves the forward pass in PyTorch."""
    import plain_torch

    network = make_network(arguments.depths[0], arguments.stem)
    model, _, infer = plain_torch.make_runs(network, arguments.batch_size, arguments.size)
    rounds.serve(infer, {'parameters': sum(array.numel() for array in model.parameters())})


def serve_keras(arguments: argparse.Namespace) -> None:
    """Serves the forward pass in Keras."""
    import plain_keras

    network = make_network(arguments.depths[0], arguments.stem)
    model, _, infer = plain_keras.make_runs(network, *draw(arguments))
    rounds.serve(infer, {'parameters': plain_keras.count(model)})


SERVERS = {
    'ours': serve_ours,
    'plain Flax': serve_flax,
    'PyTorch': serve_torch,
    'Keras': serve_keras,
}


def compare_with_forward(arguments: argparse.Namespace) -> dict:
    """Times the evaluator and the predictor, in turns with the forward passes inside them."""
    import time

    import jax
    import numpy as np

    from resnet_jax.checkpoints.trained_network import TrainedNetwork
    from resnet_jax.data import pipeline
    from resnet_jax.devices import backend, parallel
    from resnet_jax.evaluation import evaluator
    from resnet_jax.inference import predictor

    mesh = backend.start_devices(1)
    config, model, variables = make_ours(arguments)
    variables = parallel.replicate(variables, mesh)
    forward = jax.jit(functools.partial(model.apply, train=False))
    images, labels = draw(arguments)
    batch_size, num_batches = arguments.batch_size, 4
    batches = [
        {
            'image': images,
            'label': labels,
            'mask': labels >= 0,
            'id': np.arange(batch_size) + i * batch_size,
        }
        for i in range(num_batches)
    ]
    pipeline.evaluation_batches = lambda *_, **__: iter(batches)  # no decoding
    source = type('InMemory', (), {'num_examples': num_batches * batch_size})()
    evaluate = evaluator.Evaluator(
        config,
        model.compute_logits,
        source,
        mesh,
        num_classes=model.num_classes,
        split='validation',
        batch_size=batch_size,
    )
    names = tuple(str(index) for index in range(NUM_CLASSES))
    trained = TrainedNetwork(config, names, model, variables, 0)
    predict = predictor.Predictor(trained).predict
    batch_on_device, image_on_device = jax.device_put(images), jax.device_put(images[:1])

    def forward_all():
        for _ in range(num_batches):
            forward(variables, batch_on_device).block_until_ready()

    runs = {
        'split': {
            'evaluator': lambda: evaluate.run(variables, step=0),
            'forward': forward_all,
        },
        'one image': {
            'predictor': lambda: predict([images[0]]),
            'forward': lambda: forward(variables, image_on_device).block_until_ready(),
        },
    }
    tables = {}
    for subject, pair in runs.items():
        seconds = {name: [] for name in pair}
        for turn in range(arguments.rounds + 1):
            for name, run in pair.items():
                start = time.perf_counter()
                run()
                if turn:  # the first turn compiles
                    seconds[name].append(time.perf_counter() - start)
        number = num_batches * batch_size if subject == 'split' else 1
        tables[f'{describe(arguments)}, {subject}'] = rounds.summarise(
            seconds, next(iter(pair)), number
        )
    return tables


def main() -> None:
    """Compares the peers, or serves one of them in its own process."""
    arguments = parse_arguments(__doc__.split('\n')[0], 15)
    if arguments.serve:
        SERVERS[arguments.serve](arguments)
        return
    tables = {}
    for depth in arguments.depths:
        for batch_size in (arguments.batch_size or BATCH_SIZE, 1):
            changes = {'depths': [depth], 'batch_size': batch_size}
            case = argparse.Namespace(**vars(arguments) | changes)
            seconds = rounds.compare(start_peers(__file__, case), arguments.rounds)
            tables[f'{describe(case)}, forward'] = rounds.summarise(seconds, 'ours', batch_size)
    for depth in arguments.depths:
        changes = {'depths': [depth], 'batch_size': BATCH_SIZE}
        tables |= compare_with_forward(argparse.Namespace(**vars(arguments) | changes))
    rounds.report(tables, as_json=arguments.json)


if __name__ == '__main__':
    main()
