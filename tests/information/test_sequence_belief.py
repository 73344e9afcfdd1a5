"""What only a sequence model sees, through the belief: AR(1) against white noise with identical per-step marginals."""

import numpy as np

from amarl_jax.ground_truth.sequence_belief import estimate
from amarl_jax.nets.spec import BeliefSpec

PHI, T = 0.8, 6
SPEC = BeliefSpec(d_model=16, n_heads=2, n_layers=1, d_ff=32)


def draw(rng, n):
    z = rng.permutation(np.arange(n) % 2)
    noise = rng.normal(size=(n, T))
    y, phi = noise.copy(), PHI * z
    for t in range(1, T):
        y[:, t] = phi * y[:, t - 1] + np.sqrt(1 - phi**2) * noise[:, t]
    return z, y[:, :, None]


def information(rng, n=200_000):
    """I(z; y) in nats by the exact log-ratio, to 0.001."""
    z, y = draw(rng, n)
    past, now = y[:, :-1, 0], y[:, 1:, 0]
    ratio = np.sum(now**2 / 2 - (now - PHI * past) ** 2 / (2 * (1 - PHI**2)) - np.log(1 - PHI**2) / 2, axis=1)
    return np.log(2) - np.mean(np.logaddexp(0.0, np.where(z == 1, -ratio, ratio)))


def test_the_belief_sees_an_autoregression_behind_identical_marginals(key):
    rng = np.random.default_rng(0)
    truth = information(rng)
    value, stderr = estimate(
        key,
        lambda n: draw(rng, n),
        spec=SPEC,
        prior=0.5,
        n_steps=1200,  # some initial weights need 600 to leave the plateau at 0.7 of the truth
        batch_size=64,
        learning_rate=5e-3,
        n_held_out=4000,
    )
    assert value > 0.8 * truth
    assert value < truth + 3 * stderr
