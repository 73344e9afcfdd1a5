"""The label is an input of the statistics network, and an untrained critic reads the prior."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from amarl_jax.nets.order_flow import OrderFlow
from amarl_jax.nets.statistics import StatisticsNetwork, TapeStatistics
from tests.nets.test_belief import T, random_tape


def test_scores_of_both_labels(key):
    network = StatisticsNetwork((16, 16))
    features = jnp.linspace(-2, 2, 9)
    parameters = jax.jit(network.init)(key, features)
    scores = network.apply(parameters, features)
    chex.assert_shape(scores, (2,))
    assert scores[0] != scores[1]
    np.testing.assert_allclose(jax.nn.softmax(scores), 0.5, atol=0.05)  # an untrained critic claims next to nothing
    first = parameters["params"]["MLP_0"]["Dense_0"]["kernel"]
    chex.assert_shape(first, (2 + 9, 16))  # one column of weights per label


def test_scores_are_those_of_the_network_fed_the_label_by_hand(random_parameters):
    """``T(z, f)`` written out with numpy."""
    network = StatisticsNetwork((8,))
    features = jnp.linspace(-1, 1, 3)
    parameters = random_parameters(network, features)
    layers = jax.tree.map(np.asarray, parameters["params"]["MLP_0"])
    expected = []
    for label in ([1.0, 0.0], [0.0, 1.0]):
        inputs = np.concatenate([label, np.asarray(features)])
        hidden = np.maximum(inputs @ layers["Dense_0"]["kernel"] + layers["Dense_0"]["bias"], 0)
        expected.append((hidden @ layers["Dense_1"]["kernel"] + layers["Dense_1"]["bias"])[0])
    np.testing.assert_allclose(network.apply(parameters, features), expected, rtol=1e-4, atol=1e-6)  # float32


def test_scores_of_a_tape_are_half_its_log_ratio_and_what_the_network_adds(random_parameters):
    network, tape = TapeStatistics(T, (8,)), random_tape(3)
    beside = jnp.asarray(np.random.default_rng(0).normal(size=(T, 4)), jnp.float32)
    parameters = random_parameters(network, tape, beside)["params"]
    parameters |= {"flow": jax.tree.map(lambda x: 0.5 * x, parameters["flow"])}
    log_ratio, context = OrderFlow(T).apply({"params": parameters["flow"]}, tape, method="read")
    rows = np.concatenate([context, beside, np.linspace(-1, 1, T)[:, None]], axis=1).astype(np.float32)
    added = StatisticsNetwork((8,)).apply({"params": parameters["statistics"]}, rows)
    scores = jax.jit(network.apply)({"params": parameters}, tape, beside)
    assert np.abs(log_ratio).max() > 0.5
    np.testing.assert_allclose(scores, added + np.outer(log_ratio, [-0.5, 0.5]), rtol=1e-4, atol=1e-4)


def test_an_untrained_critic_of_tapes_claims_next_to_nothing(key):
    network, tape, beside = TapeStatistics(T), random_tape(3), jnp.ones((T, 4))
    scores = network.apply(jax.jit(network.init)(key, tape, beside), tape, beside)
    chex.assert_shape(scores, (T, 2))
    np.testing.assert_allclose(jax.nn.softmax(scores), 0.5, atol=0.15)
