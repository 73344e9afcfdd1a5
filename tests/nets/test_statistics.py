"""The label is an input of the statistics network, and an untrained critic reads the prior."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from amarl_jax.nets.statistics import StatisticsNetwork


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
