"""Peer in plain Flax: the same networks from `nn.Conv`, `nn.BatchNorm` and `nn.max_pool`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from networks import NUM_CLASSES, Network


class PlainResNet(nn.Module):
    """ResNet v2 like our variant 'timm', on uint8 images `[N, H, W, 3]`."""

    network: Network

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        network = self.network
        conv = functools.partial(nn.Conv, use_bias=False)
        norm = functools.partial(nn.BatchNorm, use_running_average=not train, momentum=0.9)
        x = (images.astype(jnp.float32) - 127.5) / 127.5
        if network.stem == 'imagenet':
            x = conv(network.width, (7, 7), (2, 2), padding=3)(x)
            x = nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
        else:
            x = conv(network.width, (3, 3), padding=1)(x)
        for stage, num_blocks in enumerate(network.blocks):
            channels = network.width * 2**stage
            out = channels * (4 if network.bottleneck else 1)
            for block in range(num_blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                y = nn.relu(norm()(x))
                if stride > 1 or x.shape[-1] != out:
                    x = conv(out, (1, 1), (stride, stride))(y)
                if network.bottleneck:
                    y = nn.relu(norm()(conv(channels, (1, 1))(y)))
                y = conv(channels, (3, 3), (stride, stride), padding=1)(y)
                y = nn.relu(norm()(y))
                y = conv(out, (1, 1) if network.bottleneck else (3, 3), padding='SAME')(y)
                x = x + y
        x = jnp.mean(nn.relu(norm()(x)), axis=(1, 2))
        return nn.Dense(NUM_CLASSES)(x)


def make_variables(model: PlainResNet, images: jax.Array) -> dict:
    """Returns random variables.

    They are drawn from their shapes, because `model.init` compiles for minutes for some networks.
    """
    shapes = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), images)
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        if path[-1].key in ('scale', 'var'):
            return jnp.ones(leaf.shape, leaf.dtype)
        return jnp.array(rng.normal(0, 0.05, leaf.shape), leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def make_step(model: PlainResNet, optimizer: optax.GradientTransformation):
    """Returns the jitted training step `step(variables, opt_state, images, labels)`.

    It returns the new variables, the new state of the optimizer and the loss. The first two
    arguments are donated.
    """

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(variables, opt_state, images, labels):
        def compute_loss(params):
            logits, updates = model.apply(
                variables | {'params': params}, images, train=True, mutable=['batch_stats']
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return losses.mean(), updates

        params = variables['params']
        (loss, updates), gradients = jax.value_and_grad(compute_loss, has_aux=True)(params)
        changes, opt_state = optimizer.update(gradients, opt_state, params)
        return {'params': optax.apply_updates(params, changes), **updates}, opt_state, loss

    return step
