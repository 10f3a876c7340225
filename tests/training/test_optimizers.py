"""The optimizer compared with the same formulas in NumPy."""

import numpy as np
import optax
import pytest
from flax import traverse_util

from resnet_jax.config import schema
from resnet_jax.training.optimizers import kernels_only, make_optimizer

RATES = (0.1, 0.05, 0.2)
PLAIN = {'momentum': 0.0, 'nesterov': False, 'weight_decay': 0.0}
SHAPES = {
    'block/conv/kernel': (3, 3, 2, 4),
    'block/norm/scale': (4,),
    'block/norm/bias': (4,),
    'head/kernel': (4, 3),
    'head/bias': (3,),
}

HEAD = ('head/kernel', 'head/bias')


def draw():
    """Returns parameters by name, and the gradient of each step by name."""
    rng = np.random.default_rng(0)
    trees = [
        {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
        for _ in range(1 + len(RATES))
    ]
    return trees[0], trees[1:]


def train(fields):
    config = schema.get_config()
    config.optimizer.update(PLAIN | fields)
    params, *gradients = (
        traverse_util.unflatten_dict(tree, sep='/') for tree in (draw()[0], *draw()[1])
    )
    optimizer = make_optimizer(config, lambda step: np.array(RATES, np.float32)[step])
    state = optimizer.init(params)
    for gradient in gradients:
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return traverse_util.flatten_dict(params, sep='/')


def reference(momentum=0.0, nesterov=False, decay=None, clip=lambda gradient: gradient):
    """Trains in NumPy; the weight decay of each array is `decay[name]`."""
    params, gradients = draw()
    velocity = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    for rate, gradient in zip(RATES, gradients, strict=True):
        gradient = clip(gradient)
        for name in SHAPES:
            slope = gradient[name] + (decay or {}).get(name, 0.0) * params[name]
            velocity[name] = momentum * velocity[name] + slope
            step = slope + momentum * velocity[name] if nesterov else velocity[name]
            params[name] = params[name] - rate * step
    return params


def clip_by_global_norm(gradient):
    norm = np.sqrt(sum(np.sum(np.float64(array) ** 2) for array in gradient.values()))
    assert norm > 2
    return {name: array * 2 / norm for name, array in gradient.items()}


KERNELS = {'block/conv/kernel': 0.1, 'head/kernel': 0.1}
EVERYTHING = dict.fromkeys(SHAPES, 0.1)

CASES = {
    'plain': ({}, {}),
    'nesterov without momentum': ({'nesterov': True}, {}),
    'momentum': ({'momentum': 0.9}, {'momentum': 0.9}),
    'nesterov': ({'momentum': 0.9, 'nesterov': True}, {'momentum': 0.9, 'nesterov': True}),
    'decay of kernels': ({'weight_decay': 0.1}, {'decay': KERNELS}),
    'decay of everything': (
        {'weight_decay': 0.1, 'decay_all_parameters': True},
        {'decay': EVERYTHING},
    ),
    'decay enters the momentum': (
        {'weight_decay': 0.1, 'momentum': 0.9},
        {'decay': KERNELS, 'momentum': 0.9},
    ),
    'clip by value, before the decay': (
        {'gradient_clip': 0.5, 'gradient_clip_kind': 'value', 'weight_decay': 0.1},
        {
            'decay': KERNELS,
            'clip': lambda gradient: {k: np.clip(v, -0.5, 0.5) for k, v in gradient.items()},
        },
    ),
    'clip by global norm, before the decay': (
        {'gradient_clip': 2.0, 'gradient_clip_kind': 'global_norm', 'weight_decay': 0.1},
        {'decay': KERNELS, 'clip': clip_by_global_norm},
    ),
    'a gradient within the norm stays': (
        {'gradient_clip': 1000.0, 'gradient_clip_kind': 'global_norm'},
        {},
    ),
}


@pytest.mark.parametrize('case', CASES)
def test_three_steps_are_those_of_the_formula(case):
    fields, formula = CASES[case]
    expected = reference(**formula)
    for name, array in train(fields).items():
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=1e-6)


def test_a_frozen_backbone_does_not_change_and_the_head_is_trained_alone():
    def clip_head(gradient):
        norm = np.sqrt(sum(np.sum(np.square(gradient[name])) for name in HEAD))
        return {name: gradient[name] * min(1, 0.5 / norm) for name in gradient}

    fields = {'momentum': 0.9, 'weight_decay': 0.1, 'decay_all_parameters': True}
    clip = {'gradient_clip': 0.5, 'gradient_clip_kind': 'global_norm'}
    trained = train(fields | clip | {'frozen': 'backbone'})
    expected = reference(momentum=0.9, decay=dict.fromkeys(HEAD, 0.1), clip=clip_head)
    for name, start in draw()[0].items():
        if name in HEAD:
            np.testing.assert_allclose(trained[name], expected[name], rtol=1e-5, atol=1e-6)
            assert not np.allclose(trained[name], start)
        else:
            np.testing.assert_array_equal(trained[name], start)


def test_kernels_are_recognised():
    params = traverse_util.unflatten_dict(draw()[0], sep='/')
    is_kernel = traverse_util.flatten_dict(kernels_only(params), sep='/')
    assert {name for name in is_kernel if is_kernel[name]} == set(KERNELS)
