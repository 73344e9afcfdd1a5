"""Strict numerics for every test: no silent rank promotion, no key used twice, eight CPU devices."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# tests compile far longer than they run: half the compile time, for slower code
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


@pytest.fixture
def key():
    """A fresh root key."""
    return jax.random.key(20)


@pytest.fixture(scope="session")
def workdirs(tmp_path_factory):
    """Workdirs of a run and of a sweep of two lanes; not to be written to."""
    from tests.tiny_runs import make_workdirs

    return make_workdirs(tmp_path_factory.mktemp("workdirs"))
