"""A recurrence in few kernels has the values and the gradient of the loop, for every network that has one."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.host import compile_ahead
from amarl_jax.nets import order_flow, predictor, recurrent_kernels
from amarl_jax.nets.order_flow import OrderFlow
from amarl_jax.nets.predictor import GRUPredictor
from amarl_jax.nets.recurrence import form_of, is_parallel, linear_recurrence
from tests.nets.test_order_flow import random_tape

T, EPISODES = 23, 3  # not a multiple of the steps per graph


class Doubles:
    """jax.numpy whose float32 is float64."""

    float32 = jnp.float64

    def __getattr__(self, name):
        return getattr(jnp, name)


@pytest.fixture
def in_doubles(monkeypatch):
    """Networks that count in float64: in float32 two orders of adding up differ, by how much the processor decides."""
    for module in (order_flow, predictor, recurrent_kernels):
        monkeypatch.setattr(module, "jnp", Doubles())
    with compile_ahead._CONTEXTS["jax_enable_x64"](True):
        yield


def series():
    return jnp.asarray(np.random.default_rng(0).standard_normal((EPISODES, T, 2)))


def tapes():
    rng = np.random.default_rng(1)
    parts = [random_tape(rng) for _ in range(-(-T // 7) * EPISODES)]
    rows = jax.tree.map(lambda *x: np.concatenate(x)[: T * EPISODES], *parts)
    return jax.tree.map(lambda x: x.reshape(EPISODES, T, *x.shape[1:]), rows)


NETWORKS = {
    "predictor": (lambda form: GRUPredictor(5, form), series, "__call__"),
    "order flow": (lambda form: OrderFlow(T, (6, 5), form), tapes, "read"),
}


@pytest.mark.parametrize("form", ["parallel", "interpreted"])
@pytest.mark.parametrize("name", NETWORKS)
def test_values_and_gradients_are_those_of_the_loop(name, form, random_parameters, in_doubles):
    network, episodes, method = NETWORKS[name]
    rows = episodes()
    one = jax.tree.map(lambda x: x[0], rows)
    parameters = random_parameters(network("loop"), one)
    shapes = jax.eval_shape(lambda p, x: network("loop").apply(p, x, method=method), parameters, one)
    rng = np.random.default_rng(2)
    weights = [jnp.asarray(rng.standard_normal((EPISODES, *x.shape))) for x in shapes]

    def both(form):
        @jax.jit
        def run(parameters):
            def score(p):
                outputs = jax.vmap(lambda x: network(form).apply(p, x, method=method))(rows)
                return sum(jnp.sum(w * x) for w, x in zip(weights, outputs, strict=True)), outputs

            return jax.grad(score, has_aux=True)(parameters)

        return run(parameters)

    (loop_gradient, loop_values), (gradient, values) = both("loop"), both(form)
    for expected, actual in zip(loop_values, values, strict=True):
        assert np.abs(expected).max() > 0.1
        assert actual.dtype == np.float64
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)
    for expected, actual in zip(jax.tree.leaves(loop_gradient), jax.tree.leaves(gradient), strict=True):
        scale = np.abs(expected).max()
        assert scale > 1e-3
        np.testing.assert_allclose(actual / scale, expected / scale, rtol=0, atol=1e-12)


def test_the_gradient_of_a_linear_recurrence_by_hand():
    """g[2] = 3, g[1] = 2 + a[2] 3, g[0] = 1 + a[1] g[1]; a[0] belongs to the step before the first."""
    matrices = jnp.array([99.0, 0.5, 2.0]).reshape(3, 1, 1)
    found = linear_recurrence(matrices, jnp.array([[1.0], [2.0], [3.0]]))
    assert found[:, 0].tolist() == [1 + 0.5 * 8, 2 + 2 * 3, 3]


def test_a_cpu_loops_and_other_forms_are_refused():
    assert [is_parallel(form) for form in ("auto", "loop", "parallel")] == [False, False, True]
    with pytest.raises(ValueError, match="got 'fast'"):
        is_parallel("fast")


@pytest.mark.parametrize(
    ("capability", "form"), [("9.0", "kernel"), ("8.6", "kernel"), ("7.5", "parallel"), ("gfx942", "parallel")]
)
def test_a_gpu_that_triton_has_code_for_has_kernels(capability, form, monkeypatch):
    device = SimpleNamespace(platform="gpu", compute_capability=capability)
    monkeypatch.setattr(jax, "devices", lambda *_: [device])
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert form_of("auto") == form


def test_the_parallel_form_differentiates_without_a_second_loop(random_parameters):
    x = series()[0]
    parameters = random_parameters(GRUPredictor(5), x)

    def loops(form):
        def score(p):
            return sum(jnp.sum(y) for y in GRUPredictor(5, form).apply(p, x))

        return str(jax.make_jaxpr(jax.grad(score))(parameters)).count("scan[")

    assert (loops("loop"), loops("parallel")) == (2, 1)
