"""Plan of a run as text for the terminal."""

from ml_collections import ConfigDict

from resnet_jax.console import text_plot
from resnet_jax.console.terminal import format_duration
from resnet_jax.console.wording import format_bytes, format_count
from resnet_jax.planning.plan import FLOPS_PER_MAC, Plan


def format_plan(plan: Plan, config: ConfigDict) -> str:
    """Returns the plan as a table, and the learning rate as a drawing and a list."""
    model, data = config.model, config.data
    share = format_count(config.batch_size // plan.num_devices, 'image')
    devices = f'each of {plan.num_devices} devices' if plan.num_devices > 1 else 'one device'
    extra = plan.num_input_norm_parameters
    network = f'ResNet-{model.depth} v2 ({model.variant})'
    table = {
        'network': f'{network}, {format_count(plan.num_classes, "class", "classes")}, '
        f'images of {data.image_size} px',
        'parameters': f'{plan.num_parameters:,}'
        + (f', and {extra} of the batch norm of the image' if extra else ''),
        'forward pass': f'{_format_macs(plan.macs_per_image)} an image',
        'data': f'{plan.num_train:,} training and {plan.num_validation:,} validation images',
        'steps': f'{plan.steps_per_epoch:,} an epoch of '
        f'{format_count(config.batch_size, "image")}, {plan.num_steps:,} in '
        f'{format_count(config.num_epochs, "epoch")}',
        'training': f'{plan.training_flops:.3g} FLOPs = {FLOPS_PER_MAC} x MACs x images of all '
        'steps (2 FLOPs a MAC; the backward pass costs twice the forward pass)',
        'activations': f'{format_bytes(plan.activation_bytes)} on {devices}, with gradients, for '
        f'{share}, according to the compiler for CPUs',
        'checkpoint': f'{format_bytes(plan.checkpoint_bytes)} before compression; each device '
        'holds as much',
    }
    if plan.hours is not None:
        table['time'] = (
            f'{format_duration(3600 * plan.hours)} at {plan.images_per_second:g} images/s, '
            'without evaluation'
        )
    lines = [f'{name:13} {value}' for name, value in table.items()]
    lines += ['', 'learning rate at the first step of each epoch', '']
    lines += text_plot.draw_steps(plan.learning_rates)
    return '\n'.join([*lines, '', *text_plot.list_runs(plan.learning_rates)])


def _format_macs(number: int) -> str:
    """Returns a number of multiply-accumulates: '1.814 GMAC', '35.144 MMAC' or '55.200 kMAC'."""
    for size, unit in ((1e9, 'GMAC'), (1e6, 'MMAC')):
        if number >= size:
            return f'{number / size:.3f} {unit}'
    return f'{number / 1e3:.3f} kMAC'
