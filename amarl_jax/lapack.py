"""Factorisations of a batch on a CPU, one matrix at a time.

jaxlib's LAPACK calls share a batch out among the threads that run the program, and wait for them. As many such calls at
a time as there are threads wait for each other for ever: on two cores, two networks with orthogonal first weights under
one ``vmap`` are enough (jaxlib 0.10.2).
"""

from collections.abc import Callable, Sequence

import jax

from amarl_jax.types import Array


def one_at_a_time(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """``function`` of one array, which on a CPU ``vmap`` calls in turn; elsewhere it is batched as always."""
    mapped = jax.custom_batching.custom_vmap(function)

    @mapped.def_vmap
    def in_turn(axis_size: int, in_batched: Sequence[bool], batch: Array) -> tuple[Array, bool]:
        del axis_size, in_batched
        in_order = lambda x: jax.lax.map(mapped, x)  # noqa: E731
        return jax.lax.platform_dependent(batch, cpu=in_order, default=jax.vmap(function)), True

    return mapped
