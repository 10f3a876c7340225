"""Blocks in a loop and recomputed activations: the results are those of the plain network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax.config import data_sets, schema
from resnet_jax.devices import backend
from resnet_jax.errors import InputError
from resnet_jax.models import initialization, resnet, stacking
from resnet_jax.models.variants import VARIANTS
from resnet_jax.planning.macs import count_macs
from resnet_jax.training.optimizers import make_optimizer
from resnet_jax.training.state import abstract_state, create_state

SIZE = 16


def make_config(**model):
    config = data_sets.use_data(schema.get_config(), 'digits')
    fields = {'depth': 20, 'width': 4, 'variant': 'timm'} | model
    config.update_from_flattened_dict({f'model.{name}': fields[name] for name in fields})
    return config


def make_model(**model):
    return resnet.create_model(make_config(**model), 10)


def make_variables(model):
    """Draws weights, statistics and gains that are not all 0 or 1."""
    variables = initialization.init_variables(model, SIZE, seed=0, kernel_init='he_fan_in')
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda x: x if x.ndim > 1 else x + rng.uniform(0, 0.3, x.shape).astype(np.float32),
        variables,
    )


def losses_and_gradients(model, variables):
    """Returns the loss, new statistics and gradients of a training pass, unstacked."""
    images = np.random.default_rng(1).integers(0, 256, (4, SIZE, SIZE, 3), np.uint8)
    variables = stacking.stack_blocks(variables, model.num_scanned)

    def compute_loss(params):
        logits, updates = model.apply(
            variables | {'params': params}, images, train=True, mutable=['batch_stats']
        )
        return jnp.mean(logits**2), updates['batch_stats']

    compute = jax.jit(jax.value_and_grad(compute_loss, has_aux=True))
    (loss, statistics), gradients = compute(variables['params'])
    return float(loss), *(
        stacking.unstack_blocks(tree, model.num_scanned) for tree in (statistics, gradients)
    )


def assert_close(expected, actual):
    """Compares two trees, and allows for the rounding of each array.

    Some arrays are sums that cancel to 0; their rounding is that of the largest array.
    """
    assert jax.tree.structure(expected) == jax.tree.structure(actual)
    largest = max(np.abs(array).max() for array in jax.tree.leaves(expected))
    for old, new in zip(jax.tree.leaves(expected), jax.tree.leaves(actual), strict=True):
        allowed = 1e-4 * np.abs(old).max() + 1e-6 * largest
        assert np.abs(np.asarray(old) - np.asarray(new)).max() < allowed


@pytest.mark.parametrize(
    ('variant', 'depth'),
    [
        ('mxnet', 20),
        pytest.param('gluoncv_cifar', 20, marks=pytest.mark.slow),
        pytest.param('keras', 29, marks=pytest.mark.slow),
    ],
)
def test_a_loop_computes_the_same_as_separate_blocks(variant, depth):
    plain = make_model(variant=variant, depth=depth)
    variables = make_variables(plain)
    expected = losses_and_gradients(plain, variables)
    looped = make_model(variant=variant, depth=depth, scan_blocks=True)
    assert any(looped.num_scanned)
    assert_close(expected, losses_and_gradients(looped, variables))


@pytest.mark.parametrize('scan_blocks', [False, True])
def test_recomputed_activations_change_nothing(scan_blocks):
    plain = make_model()
    variables = make_variables(plain)
    recomputed = make_model(remat='blocks', scan_blocks=scan_blocks)
    assert_close(
        losses_and_gradients(plain, variables), losses_and_gradients(recomputed, variables)
    )


@pytest.mark.parametrize(
    ('variant', 'depth', 'stem', 'scanned'),
    [
        ('mxnet', 18, 'imagenet', (0, 0, 0, 0)),
        ('mxnet', 50, 'imagenet', (2, 3, 5, 2)),
        ('keras', 50, 'imagenet', (0, 2, 4, 2)),
        ('timm', 1001, 'cifar', (110, 110, 110)),
    ],
)
def test_only_identical_blocks_are_in_loops(variant, depth, stem, scanned):
    model = make_model(variant=variant, depth=depth, stem=stem, scan_blocks=True)
    assert model.num_scanned == scanned
    assert not any(make_model(variant=variant, depth=depth, stem=stem).num_scanned)


@pytest.mark.parametrize('variant', sorted(VARIANTS))
def test_names_shapes_and_draws_do_not_depend_on_loops(variant):
    plain = make_model(variant=variant)
    looped = make_model(variant=variant, scan_blocks=True)
    expected = initialization.init_variables(plain, SIZE, seed=3, kernel_init='he_fan_in')
    variables = initialization.init_variables(looped, SIZE, seed=3, kernel_init='he_fan_in')
    assert jax.tree.structure(expected) == jax.tree.structure(variables)
    assert jax.tree.all(jax.tree.map(np.array_equal, expected, variables))
    assert count_macs(plain, SIZE) == count_macs(looped, SIZE)


@pytest.mark.parametrize('frozen', ['none', 'backbone'])
def test_states_are_stacked_and_unstacked_whole(frozen):
    config = make_config(scan_blocks=True)
    config.ema_decay = 0.9
    config.optimizer.frozen = frozen
    model = resnet.create_model(config, 10)
    optimizer = make_optimizer(config, lambda step: 0.1)
    variables = make_variables(model)
    state = create_state(config, variables, optimizer)
    stacked = stacking.stack_blocks(state, model.num_scanned)
    assert stacked.params['stage2_blocks']['conv1']['kernel'].shape == (2, 3, 3, 8, 8)
    for tree in (stacked.params, stacked.batch_stats, stacked.ema_params):
        assert not [name for name in tree if name.endswith(('block2', 'block3'))]
    created = create_state(config, stacking.stack_blocks(variables, model.num_scanned), optimizer)
    assert jax.tree.structure(created) == jax.tree.structure(stacked)
    unstacked = stacking.unstack_blocks(stacked, model.num_scanned)
    assert jax.tree.structure(unstacked) == jax.tree.structure(state)
    assert jax.tree.all(jax.tree.map(np.array_equal, unstacked, state))


def test_shapes_are_stacked_as_arrays_are():
    config = make_config(scan_blocks=True)
    model = resnet.create_model(config, 10)
    optimizer = make_optimizer(config, lambda step: 0.1)
    shapes = stacking.stack_blocks(abstract_state(config, model, optimizer), model.num_scanned)
    arrays = create_state(
        config, stacking.stack_blocks(make_variables(model), model.num_scanned), optimizer
    )
    assert jax.tree.map(lambda x: (x.shape, x.dtype), shapes) == jax.tree.map(
        lambda x: (x.shape, x.dtype), arrays
    )


def test_without_loops_a_tree_stays_as_it_is():
    model = make_model()
    variables = make_variables(model)
    for arrange in (stacking.stack_blocks, stacking.unstack_blocks):
        same = jax.tree.map(lambda a, b: a is b, variables, arrange(variables, model.num_scanned))
        assert jax.tree.all(same)


def training_memory(model):
    """Returns the bytes that the compiled step needs for activations and temporary arrays."""
    variables = initialization.abstract_variables(model, SIZE)
    variables = stacking.stack_blocks(variables, model.num_scanned)
    images = jax.ShapeDtypeStruct((16, SIZE, SIZE, 3), jnp.uint8)

    def compute_loss(params, statistics, images):
        logits, updates = model.apply(
            {'params': params, 'batch_stats': statistics},
            images,
            train=True,
            mutable=['batch_stats'],
        )
        return jnp.mean(logits**2), updates

    step = jax.jit(jax.grad(compute_loss, has_aux=True))
    lowered = step.lower(variables['params'], variables['batch_stats'], images)
    compiled = lowered.compile(backend.KEEP_RECOMPUTATION)
    return compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.slow
@pytest.mark.parametrize('scan_blocks', [False, True])
def test_recomputing_halves_the_memory_of_deep_networks(scan_blocks):
    kept = training_memory(make_model(depth=110, scan_blocks=scan_blocks))
    recomputed = training_memory(make_model(depth=110, scan_blocks=scan_blocks, remat='blocks'))
    assert recomputed < kept / 2


def test_an_unknown_kind_of_recomputation_is_refused():
    from resnet_jax.config import checks

    with pytest.raises(InputError, match="config.model.remat = 'all': expected one of none"):
        checks.validate(make_config(remat='all'))
