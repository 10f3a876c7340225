"""The training step on one device and on four."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh

from resnet_jax.config import data_sets, schema
from resnet_jax.devices import parallel
from resnet_jax.models import initialization, resnet
from resnet_jax.training import optimizers, schedules, state
from resnet_jax.training.train_step import make_train_step

NUM_CLASSES = 10


def make_config(**fields):
    config = data_sets.use_data(schema.get_config(), 'digits')
    config.ema_decay, config.model.batch_norm_momentum = 0.0, 0.9
    config.model.depth = 8
    config.model.width = 4
    config.schedule.name = 'constant'
    config.schedule.warmup_epochs = 0.0
    config.optimizer.weight_decay = 0.0
    config.update_from_flattened_dict({name.replace('__', '.'): v for name, v in fields.items()})
    return config


def make_batch(size):
    rng = np.random.default_rng(0)
    return {
        'image': rng.integers(0, 256, (size, 8, 8, 3), np.uint8),
        'label': rng.integers(0, NUM_CLASSES, size, np.int32),
        'mask': np.ones(size, bool),
    }


class Training:
    """Training from fixed initial weights on a number of devices."""

    def __init__(self, config, num_devices):
        self.mesh = Mesh(np.array(jax.devices()[:num_devices]), (parallel.AXIS,))
        self.config = config
        self.model = resnet.create_model(config, NUM_CLASSES, axis_name=parallel.AXIS)
        self.optimizer = optimizers.make_optimizer(config, schedules.make_schedule(config, 10))
        step = make_train_step(config, self.model, self.optimizer)
        self.p_step = parallel.p_map(step, self.mesh, donate=True)
        self.variables = initialization.init_variables(
            self.model, 8, seed=3, kernel_init='he_fan_out'
        )

    def start(self):
        return parallel.replicate(
            state.create_state(self.config, self.variables, self.optimizer), self.mesh
        )

    def step(self, train_state, batch):
        return self.p_step(train_state, parallel.shard(batch, self.mesh))


@functools.cache
def training(num_devices, **fields):
    return Training(make_config(**fields), num_devices)


def gradient_of(train_state):
    """Returns the gradient of the first step, which is the first value of the momentum."""
    return jax.device_get(optax.tree_utils.tree_get(train_state.opt_state, 'trace'))


@functools.cache
def make_reference(model, num_devices):
    """Returns the mean loss with its gradient, jitted, with one batch norm for each device."""

    def compute_loss(params, batch_stats, batch, targets):
        variables = {'params': params, 'batch_stats': batch_stats}
        logits = jnp.concatenate(
            [
                model.apply(variables, images, train=True, mutable='batch_stats')[0]
                for images in jnp.split(batch['image'], num_devices)
            ]
        )
        losses = -jnp.sum(targets * jax.nn.log_softmax(logits), axis=-1)
        return jnp.mean(losses, where=batch['mask'])

    return jax.jit(jax.value_and_grad(compute_loss))


def reference_loss(job, batch, label_smoothing=0.0):
    targets = (1 - label_smoothing) * np.eye(NUM_CLASSES)[batch['label']]
    targets += label_smoothing / NUM_CLASSES
    compute = make_reference(job.model, 4)
    return compute(job.variables['params'], job.variables['batch_stats'], batch, targets)


def assert_equal_but_for_rounding(actual, expected):
    """Compares arrays relative to their largest value; the precision of float32 is 6e-8 of it."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())


def assert_same_bits(actual, expected):
    assert actual.dtype == expected.dtype == np.float32
    assert actual.tobytes() == expected.tobytes()


def test_four_devices_make_the_step_of_one_when_batch_norm_is_synchronised():
    results = []
    for num_devices in (1, 4):
        job = training(num_devices, model__sync_batch_norm=True)
        results.append(jax.device_get(job.step(job.start(), make_batch(16))))
    (one, one_metrics), (four, four_metrics) = results
    assert_equal_but_for_rounding(four, one)
    assert int(four_metrics.loss.count) == int(one_metrics.loss.count) == 16
    assert_equal_but_for_rounding(four_metrics.compute(), one_metrics.compute())
    assert int(four.step) == 1
    before = job.variables['params']['head']['kernel']
    assert np.abs(four.params['head']['kernel'] - before).max() > 1e-3


def test_four_devices_differ_from_one_when_each_has_its_own_batch_norm():
    jobs = training(4), training(1, model__sync_batch_norm=True)
    own, whole = [jax.device_get(job.step(job.start(), make_batch(16))[0]) for job in jobs]
    difference = own.params['head']['kernel'] - whole.params['head']['kernel']
    assert np.abs(difference).max() > 1e-4


@pytest.mark.parametrize('masked', [[], [3], [0, 1, 2, 3], [5, 9, 10, 11, 12, 15], range(1, 16)])
def test_the_loss_is_the_mean_over_the_rows_in_the_mask(masked):
    job, batch = training(4), make_batch(16)
    batch['mask'][list(masked)] = False
    loss, gradient = reference_loss(job, batch)
    after, metrics = jax.device_get(job.step(job.start(), batch))
    assert_equal_but_for_rounding(gradient_of(after), gradient)
    assert int(metrics.loss.count) == 16 - len(masked)
    np.testing.assert_allclose(metrics.compute()['loss'], loss, rtol=1e-6)


def test_a_batch_without_any_row_in_the_mask_changes_nothing():
    job, batch = training(4), make_batch(16)
    batch['mask'][:] = False
    after, metrics = jax.device_get(job.step(job.start(), batch))
    assert int(metrics.loss.count) == 0
    jax.tree.map(np.testing.assert_array_equal, after.params, job.variables['params'])


def test_running_statistics_are_the_mean_of_the_devices():
    job, batch = training(4), make_batch(16)
    after, _ = job.step(job.start(), batch)
    apply = jax.jit(
        lambda images: job.model.apply(job.variables, images, train=True, mutable='batch_stats')[1][
            'batch_stats'
        ]
    )
    per_device = [apply(images) for images in np.split(batch['image'], 4)]
    mean = jax.tree.map(lambda *shares: np.mean(shares, axis=0), *per_device)
    assert_equal_but_for_rounding(jax.device_get(after.batch_stats), mean)


def test_devices_hold_identical_bits_after_twenty_steps():
    job, batch = training(4), make_batch(16)
    train_state = job.start()
    for _ in range(20):
        train_state, metrics = job.step(train_state, batch)
    assert int(train_state.step) == 20
    for array in jax.tree.leaves((train_state, metrics)):
        first, *copies = [np.asarray(array.addressable_data(i)) for i in range(4)]
        assert len(copies) == 3
        for copy in copies:
            np.testing.assert_array_equal(copy, first)


def test_the_loss_falls_on_one_batch():
    job, batch = training(4), make_batch(16)
    train_state, losses = job.start(), []
    for _ in range(60):
        train_state, metrics = job.step(train_state, batch)
        losses.append(float(metrics.compute()['loss']))
    assert losses[0] == pytest.approx(np.log(NUM_CLASSES), abs=0.2)
    assert losses[-1] < 0.5


def test_five_hundred_steps_dispatched_at_once_do_not_hang():
    job = training(4)
    batch = parallel.shard(make_batch(16), job.mesh)
    train_state = job.start()
    for _ in range(500):
        train_state, metrics = job.p_step(train_state, batch)
    assert int(train_state.step) == 500
    assert np.isfinite(metrics.compute()['loss'])


def test_the_state_is_donated():
    job = training(4)
    before = job.start()
    job.step(before, make_batch(16))
    assert all(array.is_deleted() for array in jax.tree.leaves(before))


def compiled_step(job):
    batch = parallel.shard(make_batch(16), job.mesh)
    return job.p_step.lower(job.start(), batch).compile().as_text()


@pytest.mark.parametrize('accumulate_steps', [1, 2])
def test_the_compiled_step_has_one_all_reduce_for_gradients_and_statistics(accumulate_steps):
    job = training(4, optimizer__accumulate_steps=accumulate_steps)
    text = compiled_step(job)
    reduces = re.findall(r'= (.*) all-reduce\(', text)
    number_of_examples, everything = sorted(reduces, key=len)
    assert number_of_examples == 'f32[]'
    assert everything.count('f32[') == len(jax.tree.leaves(job.variables))


def test_the_compiled_step_writes_the_state_in_place():
    job = training(4)
    header = compiled_step(job).splitlines()[0]
    aliases = re.findall(r'\{(\d+)\}: \((\d+), \{\}', header)
    assert aliases == [(str(i), str(i)) for i in range(len(jax.tree.leaves(job.start())))]


def test_label_smoothing_is_in_the_loss_and_the_gradient():
    job, batch = training(4, label_smoothing=0.2), make_batch(16)
    loss, gradient = reference_loss(job, batch, label_smoothing=0.2)
    plain_loss, _ = reference_loss(job, batch)
    after, metrics = jax.device_get(job.step(job.start(), batch))
    assert_equal_but_for_rounding(gradient_of(after), gradient)
    np.testing.assert_allclose(metrics.compute()['loss'], loss, rtol=1e-6)
    assert abs(loss - plain_loss) > 1e-3


@pytest.mark.parametrize('parts', [2, 4])
def test_accumulating_with_frozen_statistics_makes_the_step_of_one_large_batch(parts):
    batch = make_batch(16)
    batch['mask'][[3, 9]] = False
    results = []
    for accumulate_steps in (1, parts):
        job = training(
            4, optimizer__accumulate_steps=accumulate_steps, optimizer__frozen='backbone'
        )
        results.append(jax.device_get(job.step(job.start(), batch)))
    (whole, whole_metrics), (parted, parted_metrics) = results
    before = job.variables['params']['head']['kernel']
    assert np.abs(whole.params['head']['kernel'] - before).max() > 1e-3
    assert_equal_but_for_rounding(parted.params, whole.params)
    assert_equal_but_for_rounding(parted_metrics.compute(), whole_metrics.compute())
    assert int(parted_metrics.loss.count) == 14
    assert int(parted.step) == 1


def test_accumulating_sums_the_gradients_of_parts_that_have_batch_norms_of_their_own():
    """Two devices with two parts of four rows compute what four devices with four rows compute."""
    batch = make_batch(16)
    batch['mask'][[3, 9]] = False
    parted = training(2, optimizer__accumulate_steps=2)
    after, _ = jax.device_get(parted.step(parted.start(), batch))
    loss, gradient = reference_loss(training(4), batch)
    assert_equal_but_for_rounding(gradient_of(after), gradient)


def test_accumulating_moves_the_running_statistics_with_each_part():
    batch = make_batch(8)
    parted = training(1, optimizer__accumulate_steps=2)
    after, _ = jax.device_get(parted.step(parted.start(), batch))
    variables = parted.variables
    for images in np.split(batch['image'], 2):
        _, updates = parted.model.apply(variables, images, train=True, mutable='batch_stats')
        variables = variables | updates
    assert_equal_but_for_rounding(after.batch_stats, jax.device_get(variables['batch_stats']))


def test_averages_follow_the_weights_faster_during_the_first_steps():
    job, batch = training(4, ema_decay=0.3), make_batch(16)
    train_state = job.start()
    expected = {'params': job.variables['params'], 'batch_stats': job.variables['batch_stats']}
    for decay in (2 / 11, 3 / 12, 0.3, 0.3):  # (1 + step) / (10 + step), until 0.3 is less
        train_state, _ = job.step(train_state, batch)
        now = jax.device_get({'params': train_state.params, 'batch_stats': train_state.batch_stats})
        expected = jax.tree.map(
            lambda old, new, decay=decay: decay * old + (1 - decay) * new, expected, now
        )
        averages = jax.device_get(train_state.evaluation_variables())
        assert_equal_but_for_rounding(averages, expected)
    assert not np.allclose(averages['params']['head']['kernel'], now['params']['head']['kernel'])


@pytest.mark.parametrize(('num_devices', 'decay'), [(1, 0.1), (4, 0.9999)])
def test_averages_of_a_frozen_backbone_keep_every_bit(num_devices, decay):
    job = training(num_devices, ema_decay=decay, optimizer__frozen='backbone')
    train_state, before = job.start(), job.variables
    for _ in range(6):
        train_state, _ = job.step(train_state, make_batch(16))
    after = jax.device_get(train_state)
    for params in (after.params, after.ema_params):
        for part in params.keys() - {'head'}:
            jax.tree.map(assert_same_bits, params[part], before['params'][part])
    for batch_stats in (after.batch_stats, after.ema_batch_stats):
        jax.tree.map(assert_same_bits, batch_stats, before['batch_stats'])
    heads = after.ema_params['head']['kernel'], after.params['head']['kernel']
    assert not np.array_equal(*heads)
    assert not np.array_equal(heads[1], before['params']['head']['kernel'])


def test_averages_of_a_frozen_backbone_that_drifted_before_are_exact_after_a_step():
    job = training(1, ema_decay=0.1, optimizer__frozen='backbone')
    started = job.start()
    drifted = jax.tree.map(lambda array: array * (1 + 2e-7), started.ema_params)
    after, _ = job.step(started.replace(ema_params=drifted), make_batch(16))
    stem = jax.device_get(after.ema_params['stem'])
    jax.tree.map(assert_same_bits, stem, job.variables['params']['stem'])


def test_without_averages_evaluation_uses_the_weights():
    train_state = training(4).start()
    assert train_state.ema_params is None
    assert train_state.evaluation_variables()['params'] is train_state.params


def test_in_bfloat16_the_state_the_loss_and_its_sums_stay_float32():
    job, batch = training(4, model__dtype='bfloat16'), make_batch(16)
    before = job.start()
    dtypes = jax.tree.map(lambda array: array.dtype, before)
    after, step_metrics = job.step(before, batch)
    assert jax.tree.map(lambda array: array.dtype, after) == dtypes
    assert {leaf.dtype for leaf in jax.tree.leaves((after.params, after.opt_state))} <= {
        np.dtype(np.float32),
        np.dtype(np.int32),
    }
    assert step_metrics.loss.total.dtype == np.float32
    loss, _ = reference_loss(training(4), batch)
    bfloat16_loss = float(step_metrics.compute()['loss'])
    assert bfloat16_loss == pytest.approx(float(loss), rel=0.02)
    assert bfloat16_loss != pytest.approx(float(loss), rel=1e-6)  # it is computed in bfloat16


@pytest.mark.parametrize('dtype', ['bfloat16', 'float32'])
def test_the_real_step_lowers_for_cuda(dtype):
    config = schema.get_config()
    config.model.dtype = dtype
    mesh = Mesh(np.array(jax.devices()), (parallel.AXIS,))
    model = resnet.create_model(config, 1000, axis_name=parallel.AXIS)
    optimizer = optimizers.make_optimizer(config, schedules.make_schedule(config, 5004))
    p_step = parallel.p_map(make_train_step(config, model, optimizer), mesh, donate=True)
    batch = {
        'image': jax.ShapeDtypeStruct((4, 64, 224, 224, 3), jnp.uint8),
        'label': jax.ShapeDtypeStruct((4, 64), jnp.int32),
        'mask': jax.ShapeDtypeStruct((4, 64), bool),
    }
    traced = jax.jit(p_step).trace(state.abstract_state(config, model, optimizer), batch)
    text = traced.lower(lowering_platforms=('cuda',)).as_text()
    kind = {'bfloat16': 'bf16', 'float32': 'f32'}[dtype]
    # 21 convolutions, each with the gradients of its input and of its kernel
    assert text.count('stablehlo.convolution') == 3 * 21
    assert f'-> tensor<64x112x112x64x{kind}>' in text
