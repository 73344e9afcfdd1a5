"""Strict numerics for every test: no silent rank promotion, no key used twice, eight CPU devices."""

import gc
import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# tests compile far longer than they run: half the compile time, for slower code
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"

import chex
import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def pytest_collection_modifyitems(items):
    """Begin with the longest file, which two workers would else end with, one of them idle."""
    items.sort(key=lambda item: item.path.name != "test_train.py")


CLEARED = set()  # folders, and the modules beside this file, that began without the programs of others


@pytest.fixture(scope="module", autouse=True)
def programs_of_other_folders_are_let_go(request):
    """A compiled program takes some twenty memory maps, and a process may have 65,530: with more, compiling crashes."""
    own = request.path if request.path.parent == request.config.rootpath / "tests" else request.path.parent
    if own not in CLEARED:
        CLEARED.add(own)
        jax.clear_caches()
        chex.clear_trace_counter()  # what comes back to them traces again
        gc.collect()


@pytest.fixture
def key():
    """A fresh root key."""
    return jax.random.key(20)


@pytest.fixture(scope="session")
def workdirs(tmp_path_factory):
    """Workdirs of a run and of a sweep of two lanes; not to be written to."""
    from tests.tiny_runs import make_workdirs

    return make_workdirs(tmp_path_factory.mktemp("workdirs"))
