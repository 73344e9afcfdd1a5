"""What kernels written in Pallas for a GPU share: where Triton compiles them, and how they see their arrays."""

import re
from typing import Any

import jax
from jax.experimental import pallas as pl

from amarl_jax.types import Array

OLDEST = 8  # major compute capability that Triton has code for: Ampere


def cuda_capability() -> int | None:
    """Major compute capability of the NVIDIA GPU that JAX computes on; None where it computes on something else."""
    device: Any = jax.config.jax_default_device  # type: ignore[attr-defined]
    if device is None or isinstance(device, str):
        device = jax.devices(device)[0]
    numbered = re.match(r"(\d+)\.", str(getattr(device, "compute_capability", "")))
    return int(numbered[1]) if numbered else None


def whole_block(x: jax.Array | jax.ShapeDtypeStruct) -> pl.BlockSpec:
    """All of an array, in every program of a grid."""
    return pl.BlockSpec(x.shape, lambda *_: (0,) * len(x.shape))


def padded(n: int) -> int:
    """The least power of two that is not below n: Triton has arrays of such sizes alone."""
    return 1 << (n - 1).bit_length()


def iota(n: int) -> Array:
    """0 .. n - 1, int32."""
    return jax.lax.iota("int32", n)
