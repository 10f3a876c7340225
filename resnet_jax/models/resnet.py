"""ResNet v2: pre-activation residual networks.

The network is that of He et al. 2016, "Identity Mappings in Deep Residual Networks"
(arXiv:1603.05027). In a block, batch norm and ReLU precede each convolution, and nothing follows
the sum. One more batch norm and ReLU precede the global average pooling. The widths and depths for
ImageNet are those of He et al. 2015 (arXiv:1512.03385), table 1; depth 200 is from the 2016 paper,
depth 269 from MXNet's symbol files. `VARIANTS` lists the differences between published networks.

The checkpoint format uses the parameter names: `stem/conv/kernel`, `stage2_block1/conv1/kernel`,
`stage2_block1/norm1/scale`, `stage2_block1/projection/kernel`, `final_norm/bias`, `head/kernel`.
"""

import functools
from typing import Any, cast

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from resnet_jax.config.depths import IMAGENET_BLOCKS, cifar_blocks
from resnet_jax.models import convolution, pooling
from resnet_jax.models.batch_norm import BatchNorm
from resnet_jax.models.variants import VARIANTS, Variant


class Block(nn.Module):
    """A pre-activation residual block, figure 4(e) of the 2016 paper.

    Attributes:
      channels: number of channels of the 3x3 convolutions.
      bottleneck: three convolutions, 1x1, 3x3 and 1x1, the last with four times the channels,
        instead of two 3x3 convolutions.
      stride: stride of the first 3x3 convolution and of the shortcut.
      project: apply a 1x1 convolution, the projection, in the shortcut.
      variant: variant of the network.
      conv: `convolution.Conv` with its dtype set.
      norm: `BatchNorm` with all attributes set.
    """

    channels: int
    bottleneck: bool
    stride: int
    project: bool
    variant: Variant
    conv: Any
    norm: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Computes `[N, H / stride, W / stride, C']` from `[N, H, W, C]`."""
        sizes: tuple[int, ...] = (3, 3)
        widths: tuple[int, ...] = (self.channels, self.channels)
        if self.bottleneck:
            sizes = (1, 3, 1)
            widths = (*widths, 4 * self.channels)
        strided = sizes.index(3)
        y = nn.relu(self.norm(name='norm1')(x))
        shortcut = self._shortcut(x, y, widths[-1])
        for i, (width, size) in enumerate(zip(widths, sizes, strict=True)):
            if i > 0:
                y = nn.relu(self.norm(name=f'norm{i + 1}')(y))
            stride = self.stride if i == strided else 1
            use_bias = self.variant.biases and i == len(widths) - 1
            y = self.conv(width, size, stride, use_bias, name=f'conv{i + 1}')(y)
        return shortcut + y

    def _shortcut(self, x: jax.Array, pre_activated: jax.Array, width: int) -> jax.Array:
        if not self.project:
            return x[:, :: self.stride, :: self.stride]
        y = x if self.variant.projection_input == 'raw' else pre_activated
        stride = self.stride
        if self.variant.pooled_projection and stride > 1:
            y, stride = pooling.average_pool(y), 1
        return self.conv(width, 1, stride, self.variant.biases, name='projection')(y)


class LoopedBlock(Block):
    """A block with the signature that `nn.scan` requires: carry and input, carry and output."""

    def __call__(self, x: jax.Array, _: None) -> tuple[jax.Array, None]:  # type: ignore[override]
        return super().__call__(x), None


class Stem(nn.Module):
    """The layers before the first block.

    Attributes:
      kind: `'imagenet'`, which divides height and width by four, or `'cifar'`, which keeps them.
      width: number of output channels.
      variant: variant of the network.
      conv: as in `Block`.
      norm: as in `Block`.
    """

    kind: str
    width: int
    variant: Variant
    conv: Any
    norm: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if self.kind == 'cifar':
            return self.conv(self.width, 3, 1, self.variant.biases, name='conv')(x)
        if self.variant.deep_stem:
            for i, stride in enumerate((2, 1), 1):
                x = self.conv(self.width // 2, 3, stride, name=f'conv{i}')(x)
                x = nn.relu(self.norm(name=f'norm{i}')(x))
            x = self.conv(self.width, 3, name='conv3')(x)
        else:
            x = self.conv(self.width, 7, 2, self.variant.biases, name='conv')(x)
        if self.variant.stem_norm:
            x = nn.relu(self.norm(name='norm')(x))
        return pooling.max_pool(x, zero_padding=self.variant.zero_padded_pooling)


class ResNet(nn.Module):
    """ResNet v2: computes float32 logits of uint8 images.

    Attributes:
      blocks: number of residual blocks in each stage. From one stage to the next, height and width
        are halved.
      bottleneck: whether blocks are bottlenecks.
      width: number of channels of the stem and of the 3x3 convolutions of the first stage; every
        later stage has twice the channels of the one before it.
      num_classes: number of logits.
      stem: `'imagenet'` or `'cifar'`.
      variant: variant of the network.
      mean: mean of the R, G and B levels (0-255); the network subtracts it from the image.
      std: standard deviation of the R, G and B levels (0-255); the network divides by it.
      dtype: dtype of the computation. Parameters, statistics, normalisation and logits are float32.
      batch_norm_momentum: fraction of the old running statistics that a step keeps.
      batch_norm_epsilon: number added to the variance in batch norm.
      batch_norm_axis: mapped axis over which training statistics are synchronised, or None.
      scan_blocks: compute the identical blocks of a stage in a loop, whose body is compiled once.
        The arrays of these blocks are stacked (`stacking.stack_blocks`).
      remat: `'blocks'` keeps only the inputs of the blocks for the backward pass and recomputes
        the other activations; `'none'` keeps all (Chen et al. 2016, arXiv:1604.06174).
    """

    blocks: tuple[int, ...]
    bottleneck: bool
    width: int
    num_classes: int
    stem: str
    variant: Variant
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    dtype: jnp.dtype = jnp.float32
    batch_norm_momentum: float = 0.9
    batch_norm_epsilon: float = 1e-5
    batch_norm_axis: str | None = None
    scan_blocks: bool = False
    remat: str = 'none'

    @property
    def num_scanned(self) -> tuple[int, ...]:
        """Number of blocks of each stage that are computed in a loop.

        The loop begins with the second block of the stage; 0 means that there is no loop.
        """
        if not self.scan_blocks:
            return (0,) * len(self.blocks)
        last = len(self.blocks) - 1
        counts = [
            count - (2 if self.variant.stride_in_last_block and stage < last else 1)
            for stage, count in enumerate(self.blocks)
        ]
        return tuple(count if count > 1 else 0 for count in counts)

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Computes logits.

        Args:
          images: uint8 `[N, H, W, 3]`.
          train: normalise by the statistics of the batch and update the running statistics;
            otherwise normalise by the running statistics.

        Returns:
          float32 `[N, num_classes]`.
        """
        conv = functools.partial(convolution.Conv, dtype=self.dtype)
        norm = functools.partial(
            BatchNorm,
            use_running_average=not train,
            momentum=self.batch_norm_momentum,
            epsilon=self.batch_norm_epsilon,
            dtype=self.dtype,
            axis_name=self.batch_norm_axis,
        )
        x = (images.astype(jnp.float32) - jnp.array(self.mean)) / jnp.array(self.std)
        variant = self.variant
        if variant.input_norm != 'none':
            x = norm(use_scale=variant.input_norm == 'scale_and_shift', name='input_norm')(x)
        x = x.astype(self.dtype)
        x = Stem(self.stem, self.width, variant, conv, norm, name='stem')(x)
        for stage, num_blocks in enumerate(self.blocks):
            channels = self.width * 2**stage
            common = {'channels': channels, 'bottleneck': self.bottleneck, 'variant': variant}
            num_scanned = self.num_scanned[stage]
            for number in range(1, num_blocks + 1):
                if number == 2 and num_scanned:
                    x = self._loop(stage, common | {'conv': conv, 'norm': norm})(x, None)[0]
                if 2 <= number < 2 + num_scanned:
                    continue
                halves_size = stage > 0 and number == 1
                if variant.stride_in_last_block:
                    halves_size = stage < len(self.blocks) - 1 and number == num_blocks
                out_channels = channels * (4 if self.bottleneck else 1)
                changes_shape = halves_size or x.shape[-1] != out_channels
                block = nn.remat(Block) if self.remat == 'blocks' else Block
                x = block(
                    **common,
                    stride=2 if halves_size else 1,
                    project=number == 1 and (changes_shape or variant.always_project),
                    conv=conv,
                    norm=norm,
                    name=f'stage{stage + 1}_block{number}',
                )(x)
        x = nn.relu(norm(name='final_norm')(x))
        x = jnp.mean(x, axis=(1, 2), dtype=jnp.float32)
        return nn.Dense(self.num_classes, name='head')(x)

    def compute_logits(self, variables: dict[str, Any], images: jax.Array) -> jax.Array:
        """Returns the logits of images with the running statistics, float32 `[N, num_classes]`.

        Args:
          variables: `{'params': ..., 'batch_stats': ...}`, stacked if the network has loops.
          images: uint8 `[N, H, W, 3]`.
        """
        return cast(jax.Array, self.apply(variables, images, train=False))

    def _loop(self, stage: int, attributes: dict[str, Any]) -> nn.Module:
        """Returns a loop over the identical blocks of a stage."""
        block = LoopedBlock
        if self.remat == 'blocks':
            block = nn.remat(LoopedBlock, prevent_cse=False)  # a loop prevents CSE anyway
        loop = nn.scan(
            block,
            variable_axes={'params': 0, 'batch_stats': 0},
            split_rngs={'params': True},
            length=self.num_scanned[stage],
        )
        conv = functools.partial(attributes['conv'], in_loop=True)
        return loop(
            **(attributes | {'conv': conv}),
            stride=1,
            project=False,
            name=f'stage{stage + 1}_blocks',
        )


def create_model(config: ConfigDict, num_classes: int, *, axis_name: str | None = None) -> ResNet:
    """Returns the network that a config describes.

    Args:
      config: complete config; `model`, `data.mean` and `data.std` are read.
      num_classes: number of classes of the data set; used if `config.model.num_classes` is 0.
      axis_name: mapped axis of the training step, for `config.model.sync_batch_norm`.

    Raises:
      InputError: if no network has `config.model.depth`.
    """
    model = config.model
    variant = VARIANTS[model.variant]
    blocks: tuple[int, ...]
    if model.depth in IMAGENET_BLOCKS:
        bottleneck, blocks = model.depth >= 50, IMAGENET_BLOCKS[model.depth]
    else:
        bottleneck, blocks_per_stage = cifar_blocks(model.depth)
        blocks = (blocks_per_stage,) * 3
    return ResNet(
        blocks=blocks,
        bottleneck=bottleneck,
        width=model.width,
        num_classes=model.num_classes or num_classes,
        stem=model.stem,
        variant=variant,
        mean=tuple(config.data.mean),
        std=tuple(config.data.std),
        dtype=jnp.dtype(model.dtype),
        batch_norm_momentum=model.batch_norm_momentum,
        batch_norm_epsilon=model.batch_norm_epsilon or variant.batch_norm_epsilon,
        batch_norm_axis=axis_name if model.sync_batch_norm else None,
        scan_blocks=model.scan_blocks,
        remat=model.remat,
    )
