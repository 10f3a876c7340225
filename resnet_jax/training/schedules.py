"""Learning-rate schedules: the learning rate as a function of the step."""

import jax.numpy as jnp
import optax
from ml_collections import ConfigDict


def make_schedule(config: ConfigDict, steps_per_epoch: int) -> optax.Schedule:
    """Returns `schedule(step) -> learning rate` (float32), for steps counted from 0.

    The name of the schedule says how the rate changes:

    - `'step'`: multiplied by `factor` at each boundary, a number of completed epochs.
    - `'exponential'`: multiplied by `factor` after every epoch.
    - `'cosine'`: falls to 0 from the end of the warm-up to the end of the last epoch (Loshchilov
      and Hutter 2017, arXiv:1608.03983, without restarts).
    - `'constant'`: does not change.

    During the warm-up, every schedule is multiplied by `(step + 1) / warm-up steps` (Goyal et al.
    2017, arXiv:1706.02677).

    Args:
      config: complete config, of which `schedule`, `num_epochs` and the learning rate are read.
      steps_per_epoch: number of steps in an epoch. The run has less than 2**31 steps
        (`checks.validate_num_steps`); the warm-up and the boundaries can lie after its end.
    """
    peak, schedule = config.optimizer.learning_rate, config.schedule
    num_steps = config.num_epochs * steps_per_epoch
    warmup_steps = round(schedule.warmup_epochs * steps_per_epoch)
    match schedule.name:
        case 'step':
            boundaries = {
                round(epoch * steps_per_epoch): schedule.factor
                for epoch in schedule.boundaries_epochs
                if epoch < config.num_epochs
            }
            main = optax.piecewise_constant_schedule(peak, boundaries)
        case 'exponential':
            main = optax.exponential_decay(peak, steps_per_epoch, schedule.factor, staircase=True)
        case 'cosine':
            start = min(warmup_steps, num_steps)
            cosine = optax.cosine_decay_schedule(peak, max(num_steps - start, 1))

            def main(step: int) -> jnp.ndarray:
                return cosine(jnp.maximum(step - start, 0))

        case 'constant':
            main = optax.constant_schedule(peak)

    def learning_rate(step: int) -> jnp.ndarray:
        warmup = jnp.minimum((jnp.asarray(step) + 1) / float(max(warmup_steps, 1)), 1)
        return jnp.asarray(main(step) * warmup, jnp.float32)

    return learning_rate


def unreached_boundaries(config: ConfigDict) -> tuple[float, ...]:
    """Returns the boundaries at or after the end of the last epoch, which have no effect."""
    if config.schedule.name != 'step':
        return ()
    return tuple(epoch for epoch in config.schedule.boundaries_epochs if epoch >= config.num_epochs)
