"""Precision of matrix products by network, where it is not the same for all."""

import contextlib

import jax

MIXED = "mixed"  # the setting: TensorFloat-32 where rounding is averaged over many samples, float32 where it adds up


def of_the_run(setting: str) -> str:
    """JAX's name of the precision that a run with this setting is traced in."""
    return "float32" if setting == MIXED else setting


def of_networks(setting: str) -> str | None:
    """JAX's name of the precision of policies, critic and MINE; None: that of all else."""
    return "tensorfloat32" if setting == MIXED else None


def products_in(precision: str | None) -> contextlib.AbstractContextManager[None]:
    """Context in which what is traced multiplies matrices in this precision; None changes nothing."""
    return contextlib.nullcontext() if precision is None else jax.default_matmul_precision(precision)
