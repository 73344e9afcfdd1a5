"""What a reader runs, run here: as a reader has it, but smaller. Programs are shared by the files of this folder."""

import jax
import pytest

from amarl_jax.lanes import program as lane_program
from tests.tiny_runs import jax_settings

__all__ = ["jax_settings"]


@pytest.fixture(scope="package", autouse=True)
def as_a_reader_has_it():
    """One device.

    The checker of key reuse takes the transpose of a batch of keys in a sweep for a use: see tests/lanes/test_sweep.py.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lane_program, "devices_of", lambda run: tuple(jax.devices()[:1]))
        jax.config.update("jax_debug_key_reuse", False)
        yield
        jax.config.update("jax_debug_key_reuse", True)
        lane_program._compile.cache_clear()  # other tests count how often it traces
