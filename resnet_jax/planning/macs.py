"""Multiply-accumulates (MACs) of a network's forward pass, counted in its JAX trace."""

import functools
import math
from collections.abc import Iterator
from typing import cast

import jax
import jax.numpy as jnp
from jax.extend import core

from resnet_jax.models import initialization, resnet, stacking


def count_macs(model: resnet.ResNet, image_size: int) -> int:
    """Returns the multiply-accumulates of the forward pass of one image.

    Like published numbers, it counts convolutions and matrix products only, not normalisation,
    ReLU, pooling and sums. Multiplications with the zeros of the padding are included.

    Args:
      model: the network.
      image_size: height and width of the image in px.
    """
    images = jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.uint8)
    apply = functools.partial(model.apply, train=False)
    variables = initialization.abstract_variables(model, image_size)
    variables = stacking.stack_blocks(variables, model.num_scanned)
    return count_macs_of_jaxpr(jax.make_jaxpr(apply)(variables, images).jaxpr)


def count_macs_of_jaxpr(jaxpr: core.Jaxpr) -> int:
    """Returns the multiply-accumulates of a trace.

    Of the branches of a condition, such as those for different platforms, only the most expensive
    one counts. The body of a scan counts as often as it runs.
    """
    total = 0
    for equation in jaxpr.eqns:
        match equation.primitive.name:
            case 'conv_general_dilated':
                kernel = _shape(equation.invars[1])
                filters = kernel[equation.params['dimension_numbers'].rhs_spec[0]]
                total += math.prod(_shape(equation.outvars[0])) * math.prod(kernel) // filters
            case 'dot_general':
                (contracted, _), _ = equation.params['dimension_numbers']
                left = _shape(equation.invars[0])
                length = math.prod(left[dimension] for dimension in contracted)
                total += math.prod(_shape(equation.outvars[0])) * length
            case 'cond':
                total += max(map(count_macs_of_jaxpr, _inner(equation)))
            case 'scan':
                total += equation.params['length'] * sum(map(count_macs_of_jaxpr, _inner(equation)))
            case _:
                total += sum(map(count_macs_of_jaxpr, _inner(equation)))
    return total


def _shape(variable: core.Var | core.Literal) -> tuple[int, ...]:
    """Returns the shape of an array in a trace."""
    return cast(jax.core.ShapedArray, variable.aval).shape


def _inner(equation: core.JaxprEqn) -> Iterator[core.Jaxpr]:
    """Yields the traces inside an equation: those of the functions that it calls."""
    for parameter in jax.tree.leaves(
        list(equation.params.values()), is_leaf=lambda x: isinstance(x, core.ClosedJaxpr)
    ):
        if isinstance(parameter, core.ClosedJaxpr):
            yield parameter.jaxpr
        elif isinstance(parameter, core.Jaxpr):
            yield parameter
