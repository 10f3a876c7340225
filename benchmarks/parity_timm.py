"""Parity with timm: logits of its resnetv2 networks and of ours, for random weights and statistics.

PyTorch and timm take 5.5 GB, so they get a virtual environment of their own:

    python -m venv timm-venv
    timm-venv/bin/pip install torch==2.14.1 torchvision==0.29.1 timm==1.0.31 safetensors
    timm-venv/bin/python benchmarks/parity_timm.py make FOLDER
    .venv/bin/python benchmarks/parity_timm.py check FOLDER

For each network, `make` writes its weights to a safetensors file, and images and timm's logits to
an `.npz` file. `check` imports the weights, computes our logits, and prints the largest difference
from timm's logits, relative to the largest of them. It exits with status 1 if one is 1e-4 or more.
`make FOLDER --narrow` makes the small networks of tests/fixtures/timm.
"""

import argparse
import functools
import sys
from pathlib import Path

import numpy as np

FULL_SIZE = (
    'resnetv2_18',
    'resnetv2_34',
    'resnetv2_50',
    'resnetv2_101',
    'resnetv2_152',
    'resnetv2_18d',
    'resnetv2_34d',
    'resnetv2_50d',
)

BASIC = {'layers': (1, 1, 1), 'channels': (8, 16, 32), 'basic': True, 'bottle_ratio': 1.0}
BOTTLENECK = {'layers': (1, 1, 1), 'channels': (32, 64, 128)}
NARROW = {
    'basic': BASIC,
    'bottleneck': BOTTLENECK,
    'basic_d': BASIC | {'stem_type': 'deep', 'avg_down': True},
}
"""Arguments of timm's ResNetV2 for networks of 8 and 11 layers with width 8."""

TOLERANCE = 1e-4
"""Differences relative to the largest logit must be smaller than this."""


def make(folder: Path, narrow: bool) -> None:
    """Writes timm's networks with random weights from a fixed seed, images and logits.

    Args:
      folder: folder for the files.
      narrow: make the networks of `NARROW` instead of `FULL_SIZE`.
    """
    import timm
    import torch
    from safetensors.torch import save_file
    from timm.layers import BatchNormAct2d, create_conv2d
    from timm.models.resnetv2 import ResNetV2

    folder.mkdir(parents=True, exist_ok=True)
    for name in NARROW if narrow else FULL_SIZE:
        torch.manual_seed(0)
        if narrow:
            layers = {'conv_layer': create_conv2d, 'norm_layer': BatchNormAct2d}
            model = ResNetV2(stem_chs=8, num_classes=5, **layers, **NARROW[name])
        else:
            model = timm.create_model(name, pretrained=False)
        randomise(model)
        size = 75 if narrow else 224
        images = np.random.default_rng(1).integers(0, 256, (2, size, size, 3), np.uint8)
        images[0] //= 3
        with torch.no_grad():
            pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
            logits = model.eval()((pixels / 255 - 0.5) / 0.5).numpy()
        save_file(model.state_dict(), folder / f'{name}.safetensors')
        np.savez_compressed(folder / f'{name}.npz', images=images, logits=logits)
        print(f'{name}: {sum(p.numel() for p in model.parameters()):,} parameters')


def randomise(model) -> None:
    """Draws all weights and statistics at random, also those that a new network sets to 0 or 1."""
    import torch

    for name, array in model.state_dict().items():
        kind = name.rsplit('.', 1)[1]
        if kind in ('bias', 'running_mean'):
            array.uniform_(-0.5, 0.5)
        elif kind == 'running_var' or (kind == 'weight' and array.ndim == 1):
            array.uniform_(0.5, 1.5)
        elif array.ndim == 4:
            torch.nn.init.normal_(array, std=array[0].numel() ** -0.5)


def check(folder: Path) -> bool:
    """Prints the differences of our logits from timm's; returns whether all are small enough."""
    import jax

    from resnet_jax.models import resnet
    from resnet_jax.weights import importing

    all_close = True
    for path in sorted(folder.glob('*.safetensors')):
        imported = importing.load_weights('timm', path.read_bytes(), where=str(path))
        stored = np.load(path.with_suffix('.npz'))
        model = resnet.create_model(imported.config, len(imported.class_names))
        apply = jax.jit(functools.partial(model.apply, train=False))
        logits = apply(imported.variables, stored['images'])
        error = np.abs(logits - stored['logits']).max() / np.abs(stored['logits']).max()
        all_close = all_close and bool(error < TOLERANCE)
        print(f'{path.stem:14} {error:.1e}   {imported.description}')
    return all_close


def main() -> int:
    """Makes the files or checks them; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('action', choices=('make', 'check'))
    parser.add_argument('folder', type=Path)
    parser.add_argument('--narrow', action='store_true', help='make the small networks')
    arguments = parser.parse_args()
    if arguments.action == 'make':
        make(arguments.folder, arguments.narrow)
        return 0
    return 0 if check(arguments.folder) else 1


if __name__ == '__main__':
    sys.exit(main())
