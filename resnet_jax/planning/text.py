"""Plan of a run as text for the terminal."""

from ml_collections import ConfigDict

from resnet_jax.console import text_plot
from resnet_jax.console.terminal import format_duration
from resnet_jax.planning.plan import FLOPS_PER_MAC, Plan


def format_plan(plan: Plan, config: ConfigDict) -> str:
    """Returns the plan as a table, and the learning rate as a drawing and a list."""
    model, data = config.model, config.data
    share = config.batch_size // plan.num_devices
    extra = plan.num_input_norm_parameters
    table = {
        'network': f'ResNet-{model.depth} v2 ({model.variant}), {plan.num_classes} classes, '
        f'images of {data.image_size} px',
        'parameters': f'{plan.num_parameters:,}'
        + (f', and {extra} of the batch norm of the image' if extra else ''),
        'forward pass': f'{plan.macs_per_image / 1e9:.3f} GMAC an image',
        'data': f'{plan.num_train:,} training and {plan.num_validation:,} validation images',
        'steps': f'{plan.steps_per_epoch:,} an epoch of {config.batch_size} images, '
        f'{plan.num_steps:,} in {config.num_epochs} epochs',
        'training': f'{plan.training_flops:.3g} FLOPs = {FLOPS_PER_MAC} x MACs x images of all '
        'steps (2 FLOPs a MAC; the backward pass costs twice the forward pass)',
        'activations': f'{plan.activation_bytes / 2**30:.2f} GiB on each of {plan.num_devices} '
        f'devices, with gradients, for {share} images each, according to the compiler for CPUs',
        'checkpoint': f'{plan.checkpoint_bytes / 1e6:.1f} MB before compression; each device holds '
        'as much',
    }
    if plan.hours is not None:
        table['time'] = (
            f'{plan.hours:.2f} hours ({format_duration(3600 * plan.hours)}) at '
            f'{plan.images_per_second:g} images/s, without evaluation'
        )
    lines = [f'{name:13} {value}' for name, value in table.items()]
    lines += ['', 'learning rate at the first step of each epoch', '']
    lines += text_plot.draw_steps(plan.learning_rates)
    return '\n'.join([*lines, '', *text_plot.list_runs(plan.learning_rates)])
