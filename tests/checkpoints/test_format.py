"""Checkpoint format: order of the arrays in the checksum."""

import jax
import pytest

from resnet_jax.checkpoints.format import _position_in_checksum, named_arrays
from resnet_jax.config import data_sets, schema
from resnet_jax.models import resnet, stacking
from resnet_jax.training import optimizers, schedules
from resnet_jax.training.state import abstract_state

PLAIN_SGD = {
    'optimizer.momentum': 0.0,
    'optimizer.nesterov': False,
    'optimizer.weight_decay': 0.0,
    'optimizer.gradient_clip': 0.0,
}
CLIPPED_AND_DECAYED = {
    'optimizer.momentum': 0.9,
    'optimizer.weight_decay': 1e-4,
    'optimizer.decay_all_parameters': False,  # the decay is masked
    'optimizer.gradient_clip': 1.0,
}


@pytest.mark.parametrize(
    'fields',
    [
        PLAIN_SGD,
        CLIPPED_AND_DECAYED,
        CLIPPED_AND_DECAYED | {'optimizer.frozen': 'backbone'},
        CLIPPED_AND_DECAYED | {'ema_decay': 0.9},
        CLIPPED_AND_DECAYED | {'ema_decay': 0.9, 'optimizer.frozen': 'backbone'},
        CLIPPED_AND_DECAYED | {'ema_decay': 0.9, 'model.scan_blocks': True},
    ],
    ids=['plain', 'clipped', 'frozen', 'averaged', 'averaged-frozen', 'scanned'],
)
def test_the_checksum_visits_arrays_in_the_order_of_the_flattened_state(fields):
    """Earlier versions computed the checksum in that order; their checkpoints must stay valid."""
    config = data_sets.use_data(schema.get_config(), 'digits')
    small = {'model.depth': 68, 'model.width': 4, 'ema_decay': 0.0}
    config.update_from_flattened_dict(small | fields)
    model = resnet.create_model(config, 10)
    assert max(model.blocks) > 10  # stage1_block10 sorts before stage1_block2
    optimizer = optimizers.make_optimizer(config, schedules.make_schedule(config, 5))
    state = abstract_state(config, model, optimizer)
    stacked = stacking.stack_blocks(state, model.num_scanned)
    for tree in (state, stacked, stacking.unstack_blocks(stacked, model.num_scanned)):
        names = list(named_arrays(tree))
        assert len(names) == len(jax.tree.leaves(tree))
        assert sorted(names, key=_position_in_checksum) == names
    has_momentum = fields['optimizer.momentum'] > 0
    assert any('trace' in name for name in names) == has_momentum
    assert any(name.startswith('ema_') for name in names) == ('ema_decay' in fields)
