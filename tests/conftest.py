"""Strict numerics for every test: no silent rank promotion, no key used twice, eight CPU devices."""

import gc
import importlib.metadata
import os
import subprocess
import sys

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Tests compile far longer than they run, so they compile quickly, to slower code: not optimised, and by XLA's older
# emitters of kernels where jaxlib has them (a later one ends at the flag). Those round differently from one program to
# the next, so tests marked ``default_emitters``, which compare two programs bit for bit, run in a process of their own.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0" + (
    " --xla_cpu_use_fusion_emitters=false"
    if importlib.metadata.version("jaxlib").startswith(("0.7.", "0.8.", "0.9.", "0.10."))
    and "AMARL_TEST_DEFAULT_EMITTERS" not in os.environ
    else ""
)

import chex
import jax
import pytest

OLDER_EMITTERS = "--xla_cpu_use_fusion_emitters=false" in os.environ["XLA_FLAGS"]

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
gc.set_threshold(50_000, 20, 50)  # tracing makes many objects and little garbage: a fifth of its time


def pytest_collection_modifyitems(items):
    """Begin with the longest file, which two workers would else end with, one of them idle."""
    items.sort(key=lambda item: item.path.name != "test_train.py")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Run what is marked ``default_emitters`` in a process that compiles with them."""
    if not OLDER_EMITTERS or pyfuncitem.get_closest_marker("default_emitters") is None:
        return None
    flags = os.environ["XLA_FLAGS"].replace("--xla_cpu_use_fusion_emitters=false", "")
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", pyfuncitem.nodeid]
    others = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "XLA_"))}
    environment = others | {"XLA_FLAGS": flags, "AMARL_TEST_DEFAULT_EMITTERS": "1"}
    done = subprocess.run(words, cwd=pyfuncitem.config.rootpath, env=environment, capture_output=True, text=True)
    if done.returncode:
        pytest.fail(done.stdout + done.stderr, pytrace=False)
    return True


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
