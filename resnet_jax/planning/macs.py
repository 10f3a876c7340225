"""What a network's forward pass costs, counted in its own trace."""

import functools
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jax.extend import core

from resnet_jax.models import initialization, resnet, stacking


def count_macs(model: resnet.ResNet, image_size: int) -> int:
    """Returns the multiply-accumulates of the forward pass of one image.

    Those of convolutions and matrix products, as published numbers have it; normalisation, ReLU,
    pooling and sums are left out. Multiplications with the zeros of the padding count.

    Args:
      model: the network.
      image_size: height and width in px.
    """
    images = jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.uint8)
    apply = functools.partial(model.apply, train=False)
    variables = initialization.abstract_variables(model, image_size)
    variables = stacking.stack_blocks(variables, model.num_scanned)
    return count_macs_of_jaxpr(jax.make_jaxpr(apply)(variables, images).jaxpr)


def count_macs_of_jaxpr(jaxpr: core.Jaxpr) -> int:
    """Returns the multiply-accumulates of a trace.

    Of branches, such as those for different platforms, the most expensive counts; the body of a
    scan counts as often as it runs.
    """
    total = 0
    for equation in jaxpr.eqns:
        match equation.primitive.name:
            case 'conv_general_dilated':
                kernel = equation.invars[1].aval.shape
                filters = kernel[equation.params['dimension_numbers'].rhs_spec[0]]
                total += equation.outvars[0].aval.size * math.prod(kernel) // filters
            case 'dot_general':
                (contracted, _), _ = equation.params['dimension_numbers']
                left = equation.invars[0].aval.shape
                length = math.prod(left[dimension] for dimension in contracted)
                total += equation.outvars[0].aval.size * length
            case 'cond':
                total += max(map(count_macs_of_jaxpr, _inner(equation)))
            case 'scan':
                total += equation.params['length'] * sum(map(count_macs_of_jaxpr, _inner(equation)))
            case _:
                total += sum(map(count_macs_of_jaxpr, _inner(equation)))
    return total


def _inner(equation: core.JaxprEqn) -> Iterator[core.Jaxpr]:
    """Yields the traces inside of an equation: those of functions that it calls."""
    for parameter in jax.tree.leaves(
        list(equation.params.values()), is_leaf=lambda x: isinstance(x, core.ClosedJaxpr)
    ):
        if isinstance(parameter, core.ClosedJaxpr):
            yield parameter.jaxpr
        elif isinstance(parameter, core.Jaxpr):
            yield parameter
