"""Ridge-penalised logistic regression of a log-ratio, its penalty chosen on validation episodes."""

import jax
import jax.numpy as jnp

from amarl_jax.information import mine
from amarl_jax.information.estimators import get
from amarl_jax.lapack import one_at_a_time
from amarl_jax.types import Array

STEPS = 50
BIAS_PENALTY = 1e-6


def ridge_fit(x: Array, labels: Array, prior: Array, fitting: Array, validation: Array, penalties: Array) -> Array:
    """Coefficients [P + 1] of the log-ratio ``x @ c[:-1] + c[-1]``, at the penalty best on validation.

    The curvature of the logistic loss is at most 1/4, so steps with that Hessian descend without a line search
    (Boehning and Lindsay 1988).

    Args:
      x: [n, P] columns of about unit size.
      labels: [n], 0 or 1.
      prior: p_z, to which both classes are weighted.
      fitting: [n_fit] rows to fit on.
      validation: [n_validation] rows to choose on.
      penalties: [R, P] of each column, per unit of episode weight.
    """
    inputs = jnp.concatenate([x, jnp.ones((x.shape[0], 1))], axis=1)
    fit_x, fit_z = inputs[fitting], labels[fitting]
    weights = mine.episode_weights(fit_z, prior)
    log_odds = mine.log_prior(prior)[1] - mine.log_prior(prior)[0]
    gram = fit_x.T @ (weights[:, None] * fit_x) / 4.0

    def solve(penalty: Array) -> Array:
        penalty = jnp.append(penalty, BIAS_PENALTY)
        step_matrix = one_at_a_time(jnp.linalg.inv)(gram + jnp.diag(penalty))

        def step(_: int, coefficient: Array) -> Array:
            error = jax.nn.sigmoid(fit_x @ coefficient + log_odds) - fit_z
            return coefficient - step_matrix @ (fit_x.T @ (weights * error) + penalty * coefficient)

        return jax.lax.fori_loop(0, STEPS, step, jnp.zeros(inputs.shape[1]))

    paths = jax.vmap(solve)(penalties)
    scores = inputs[validation] @ paths.T
    losses = jax.vmap(lambda score: cross_entropy(score, labels[validation], prior), in_axes=1)(scores)
    return paths[jnp.argmin(losses)]


def cross_entropy(log_ratio: Array, labels: Array, prior: Array) -> Array:
    """Minus the Barber-Agakov bound of these episodes, in nats."""
    scores = jnp.stack([jnp.zeros_like(log_ratio), log_ratio], axis=-1)
    return -get("barber_agakov").bound(scores, labels, prior)
