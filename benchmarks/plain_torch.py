"""Peer in PyTorch: the same networks in channels_last, for an interpreter that has torch."""

import torch
from networks import NUM_CLASSES, Network
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    """Pre-activation block.

    Args:
      channels_in: number of channels of the input.
      channels: number of channels of the inner convolutions.
      out: number of channels of the output.
      stride: stride of the first 3x3 convolution and of the projection.
      bottleneck: whether the convolutions are 1x1, 3x3, 1x1 instead of 3x3, 3x3.
    """

    def __init__(self, channels_in: int, channels: int, out: int, stride: int, bottleneck: bool):
        super().__init__()
        sizes = (1, 3, 1) if bottleneck else (3, 3)
        widths = (channels_in, *(channels,) * (len(sizes) - 1), out)
        strided = sizes.index(3)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths[:-1])
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, size, stride if i == strided else 1, size // 2, bias=False)
            for i, (a, b, size) in enumerate(zip(widths, widths[1:], sizes))  # noqa: B905
        )
        projects = stride > 1 or channels_in != out
        self.projection = nn.Conv2d(channels_in, out, 1, stride, bias=False) if projects else None

    def forward(self, x):
        y = functional.relu(self.norms[0](x), inplace=True)
        shortcut = x if self.projection is None else self.projection(y)
        y = self.convs[0](y)
        for norm, conv in zip(self.norms[1:], self.convs[1:]):  # noqa: B905
            y = conv(functional.relu(norm(y), inplace=True))
        return shortcut + y


class TorchResNet(nn.Module):
    """ResNet v2 like our variant 'timm', on uint8 images `[N, 3, H, W]`."""

    def __init__(self, network: Network):
        super().__init__()
        channels_in = network.width
        if network.stem == 'imagenet':
            layers = [nn.Conv2d(3, channels_in, 7, 2, 3, bias=False), nn.MaxPool2d(3, 2, 1)]
        else:
            layers = [nn.Conv2d(3, channels_in, 3, 1, 1, bias=False)]
        for stage, num_blocks in enumerate(network.blocks):
            channels = network.width * 2**stage
            out = channels * (4 if network.bottleneck else 1)
            for block in range(num_blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(Block(channels_in, channels, out, stride, network.bottleneck))
                channels_in = out
        self.body = nn.Sequential(*layers, nn.BatchNorm2d(channels_in), nn.ReLU(inplace=True))
        self.head = nn.Linear(channels_in, NUM_CLASSES)

    def forward(self, images):
        x = (images.float() - 127.5) / 127.5
        return self.head(self.body(x).mean((2, 3)))


def make_runs(network: Network, batch_size: int, size: int):
    """Returns the model, a function that does a training step, and one that does a forward pass.

    Both functions return when the computation is done.
    """
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    model = TorchResNet(network).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        model.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=1e-4
    )
    images = torch.randint(0, 256, (batch_size, 3, size, size), dtype=torch.uint8, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, NUM_CLASSES, (batch_size,), device=device)

    def wait():
        if device == 'cuda':
            torch.cuda.synchronize()

    def train():
        model.train()
        optimizer.zero_grad(set_to_none=True)
        functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
        wait()

    def infer():
        model.eval()
        with torch.inference_mode():
            model(images)
        wait()

    return model, train, infer
