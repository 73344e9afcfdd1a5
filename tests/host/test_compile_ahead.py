"""What is compiled ahead is what is called later; what goes wrong there is left to the caller."""

import contextlib
import signal
import threading

import jax
import jax.numpy as jnp
import pytest

from amarl_jax.host import compile_ahead
from amarl_jax.host.compile_ahead import CompileAhead, at_work, like


@pytest.fixture
def compiled():
    """Names of the programs that XLA compiles while a test runs."""
    names = []

    def heard(event, seconds, **about):
        if event.endswith("backend_compile_duration"):
            names.append(about.get("fun_name"))

    jax.monitoring.register_event_duration_secs_listener(heard)
    yield names
    jax.monitoring.unregister_event_duration_listener(heard)


@pytest.mark.parametrize("placed", [False, True], ids=["anywhere", "on its device"])
def test_a_call_finds_the_program_that_was_compiled_from_its_shapes(placed, compiled):
    def program_of_this_test(x, key):
        return jax.random.normal(key) + jnp.sin(x)

    program = jax.jit(program_of_this_test, donate_argnums=0)
    x, key = jnp.ones(3 + placed), jax.random.key(0)
    x = jax.device_put(x, *x.devices()) if placed else x
    with CompileAhead([lambda: program.lower(*like((x, key))).compile()]) as ahead:
        ahead.start()
        ahead.start()
        ahead.wait()
        assert sum("program_of_this_test" in str(name) for name in compiled) == 1
        program(x, key)
    assert sum("program_of_this_test" in str(name) for name in compiled) == 1


SETTINGS = {
    "jax_enable_x64": True,
    "jax_debug_key_reuse": False,
    "jax_numpy_rank_promotion": "warn",
    "jax_default_matmul_precision": "float32",
    "jax_default_prng_impl": "rbg",
}


def test_its_thread_has_the_settings_that_hold_in_the_callers():
    seen = []
    with contextlib.ExitStack() as contexts:
        for name, value in SETTINGS.items():
            assert getattr(jax.config, name) != value
            contexts.enter_context(compile_ahead._CONTEXTS[name](value))
        with CompileAhead([lambda: seen.append({name: getattr(jax.config, name) for name in SETTINGS})]) as ahead:
            ahead.start()
    assert seen == [SETTINGS]


def test_what_is_compiled_ahead_in_a_context_is_what_is_called_in_it(compiled):
    def program_in_a_context(x):
        return jnp.sin(x) + 1

    program = jax.jit(program_in_a_context)
    with compile_ahead._CONTEXTS["jax_enable_x64"](True):
        x = jnp.ones(5)
        assert x.dtype == jnp.float64
        with CompileAhead([lambda: program.lower(*like((x,))).compile()]) as ahead:
            ahead.start()
            ahead.wait()
            program(x)
    assert sum("program_in_a_context" in str(name) for name in compiled) == 1


def test_a_job_that_fails_fails_nothing_and_the_next_ones_are_left_to_their_callers():
    done = []
    with CompileAhead([lambda: done.append(1), lambda: 1 / 0, lambda: done.append(3)]) as ahead:
        ahead.start()
    assert done == [1]


def test_an_error_in_the_context_drops_the_jobs_that_are_left_and_waits_for_none():
    first, let_go, done = threading.Event(), threading.Event(), []

    def job():
        first.set()
        let_go.wait(10.0)

    def fail():
        with CompileAhead([job, lambda: done.append(2)]) as ahead:
            caught.append(ahead)
            ahead.start()
            first.wait(10.0)
            raise KeyError

    caught = []
    with pytest.raises(KeyError):
        fail()
    (ahead,) = caught
    let_go.set()
    ahead.wait()
    assert not done


def test_nothing_begins_by_itself():
    done = []
    with CompileAhead([lambda: done.append(1)]):
        pass
    assert not done


def test_a_wait_that_a_signal_interrupts_leaves_a_thread_that_python_knows_of():
    """Else the interpreter ends under it; joining in Python 3.11 does that."""
    let_go = threading.Event()
    ahead = CompileAhead([lambda: let_go.wait(10.0)])

    def interrupt(number, frame):
        raise KeyError

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        ahead.start()
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyError):
            ahead.wait()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert ahead.busy
    assert at_work()
    let_go.set()
    ahead.wait()
    assert not ahead.busy
