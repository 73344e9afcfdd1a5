"""Policy heads: distributions over latents, which the market decodes. The only module that imports distrax.

Each head is a pytree of distribution parameters for one agent in one state; the caller vmaps over steps and episodes.
Policies store latents, never decoded actions, so a log-density is always taken at the number that was drawn.
"""

from typing import TYPE_CHECKING, Any, Protocol

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from amarl_jax.draws import UNIFORMS_PER_GAMMA, log_gamma, standard_normal
from amarl_jax.nets.beta_cells import beta_cells
from amarl_jax.types import Array

if TYPE_CHECKING:
    import distrax

LATENT_EPS = 1e-6  # Beta latents live in [eps, 1 - eps], where every log-density is finite
BETA_MIN = 0.05  # least Beta parameter
BETA_MAX = 100.0  # greatest Beta parameter
MODE_BLUR = 1e-5  # of a mode's latents and logits: programs with other orders of summation agree to within it
LOG_STD_MAX = 4.0  # log standard deviations stay in (-max, max)
_HERMITE_NODES, _HERMITE_WEIGHTS = np.polynomial.hermite_e.hermegauss(64)


class Head(Protocol):
    """What every policy head can do."""

    def sample(self, key: Array) -> Any:
        """One draw of the latents."""
        ...

    def log_prob(self, latents: Any) -> Array:
        """Log-density of the executed action, nats, []."""
        ...

    def entropy(self) -> Array:
        """Entropy of the executed action, nats, []."""
        ...

    def mode(self) -> Any:
        """The latents of the deterministic policy."""
        ...


def beta_parameter(raw: Array) -> Array:
    """A Beta parameter from a network output: ``min + m tanh(softplus(raw) / m)``, ``m = max - min``.

    Close to ``min + softplus(raw)`` where it matters, smooth everywhere, never above ``BETA_MAX``, and onto: every
    value between the bounds is reached, so Beta(1, 1) and the noise traders' Beta(4.44, 13.31) are exact members.
    """
    span = BETA_MAX - BETA_MIN
    return BETA_MIN + span * jnp.tanh(jax.nn.softplus(raw) / span)


def raw_beta_parameter(value: float) -> float:
    """Inverse of :func:`beta_parameter` on the host, to initialise biases."""
    span = BETA_MAX - BETA_MIN
    softplus = span * np.arctanh((value - BETA_MIN) / span)
    return float(softplus + np.log(-np.expm1(-softplus)))


def bounded_log_std(raw: Array) -> Array:
    """A log standard deviation from a network output: ``max tanh(raw / max)``, the identity near 0."""
    return LOG_STD_MAX * jnp.tanh(raw / LOG_STD_MAX)


@struct.dataclass
class BetaLaw:
    """Beta(a, b) as ``distrax.Beta``, with each special function evaluated once, on a, b and a + b stacked.

    Each is a long series that is compiled again at every call.
    """

    a: Array  # [...]
    b: Array  # [...]

    def log_prob(self, x: Array) -> Array:
        """Log-density at x in (0, 1), nats, [...]."""
        return (self.a - 1.0) * jnp.log(x) + (self.b - 1.0) * jnp.log1p(-x) - self._log_norm()

    def entropy(self) -> Array:
        """``log B(a, b) - (a - 1) psi(a) - (b - 1) psi(b) + (a + b - 2) psi(a + b)``, nats, [...]."""
        psi = jax.lax.digamma(self._of_both())
        return self._log_norm() - (self.a - 1.0) * psi[0] - (self.b - 1.0) * psi[1] + (self.a + self.b - 2.0) * psi[2]

    def mean(self) -> Array:
        """``a / (a + b)``, [...]."""
        return self.a / (self.a + self.b)

    def _of_both(self) -> Array:
        return jnp.stack([self.a, self.b, self.a + self.b])

    def _log_norm(self) -> Array:
        """``log B(a, b)``."""
        log_gamma_of = jax.lax.lgamma(self._of_both())
        return log_gamma_of[0] + log_gamma_of[1] - log_gamma_of[2]


@struct.dataclass
class ExecutionLatents:
    """A draw of the execution policy."""

    gate: Array  # [] 1 acts, 0 abstains
    side: Array  # [] 1 trades along the parent order's side, 0 against it
    size: Array  # [] in (0, 1), fraction of the largest order
    offset: Array  # [] in (0, 1), place in the range of limit offsets, aggressive to passive
    kind: Array  # [] 1 limit, 0 market


@struct.dataclass
class ExecutionHead:
    """Gate, side and kind are Bernoulli, size and offset Beta: the noise traders' law is a member.

    Only what is executed counts: an abstention (gate 0) has the gate's term alone, a market order no offset.
    """

    switch_logits: Array  # [3] of gate, side and kind
    beta_a: Array  # [2] Beta parameters of size and offset, positive
    beta_b: Array  # [2]

    def _laws(self) -> "tuple[distrax.Bernoulli, BetaLaw]":
        """Gate, side and kind; size and offset."""
        import distrax  # takes a second: imported when first needed

        return distrax.Bernoulli(logits=self.switch_logits, dtype=jnp.float32), BetaLaw(self.beta_a, self.beta_b)

    def sample(self, key: Array) -> ExecutionLatents:
        """All five latents, whether or not the gate executes them."""
        chex.assert_shape(self.switch_logits, (3,))
        uniform = jax.random.uniform(key, (3 + 4 * UNIFORMS_PER_GAMMA,), jnp.float32)
        draws = (uniform[:3] < jax.nn.sigmoid(self.switch_logits)).astype(jnp.float32)
        # Beta(a, b) is G_a / (G_a + G_b)
        log_a, log_b = log_gamma(uniform[3:].reshape(-1, 2, 2), jnp.stack([self.beta_a, self.beta_b]))
        size, offset = _inside(jax.nn.sigmoid(log_a - log_b))
        return ExecutionLatents(gate=draws[0], side=draws[1], size=size, offset=offset, kind=draws[2])

    def log_prob(self, latents: ExecutionLatents) -> Array:
        """``log p(gate) + gate (log p(side) + log p(size) + log p(kind) + kind log p(offset))``, nats, [].

        Unused latents are replaced before their density is taken, so no gradient passes through them.
        """
        chex.assert_shape([self.switch_logits, latents.gate], [(3,), ()])
        switches, betas = self._laws()
        acts = latents.gate > 0.5
        posts = acts & (latents.kind > 0.5)
        used = jnp.stack([acts, posts])  # size, offset
        gate, side, kind = switches.log_prob(jnp.stack([latents.gate, latents.side, latents.kind]))
        drawn = betas.log_prob(jnp.where(used, _inside(jnp.stack([latents.size, latents.offset])), 0.5))
        return gate + jnp.where(acts, side + kind, 0.0) + jnp.sum(jnp.where(used, drawn, 0.0))

    def entropy(self) -> Array:
        """``H(gate) + p_gate (H(side) + H(size) + H(kind) + p_limit H(offset))``, nats, [], of the executed law."""
        chex.assert_shape(self.switch_logits, (3,))
        switches, betas = self._laws()
        (gate, side, kind), (size, offset) = switches.entropy(), betas.entropy()
        p_gate, _, p_limit = switches.probs
        return gate + p_gate * (side + size + kind + p_limit * offset)

    def mode(self) -> ExecutionLatents:
        """Likelier value of each Bernoulli, mean of each Beta (the mode of Beta(1, 1) is undefined)."""
        switches, betas = self._laws()
        (gate, side, kind), (size, offset) = switches.mode(), betas.mean()
        return ExecutionLatents(gate, side, size, offset, kind)

    def law(self, size_edges: np.ndarray, offset_edges: np.ndarray) -> tuple[Array, Array, Array, Array, Array]:
        """Probabilities of gate, side and kind, [] each, and of the cells of size and offset between the edges."""
        gate, side, kind = jax.nn.sigmoid(self.switch_logits)
        size, offset = (beta_cells(self.beta_a[i], self.beta_b[i], x) for i, x in enumerate((size_edges, offset_edges)))
        return gate, side, kind, size, offset

    def mode_law(self, size_edges: np.ndarray, offset_edges: np.ndarray) -> tuple[Array, Array, Array, Array, Array]:
        """:meth:`law` of the mode: 0 or 1, but shared among neighbours within ``MODE_BLUR`` of a boundary."""
        gate, side, kind = jnp.clip(0.5 + 0.5 * self.switch_logits / MODE_BLUR, 0.0, 1.0)
        size, offset = self._laws()[1].mean()
        return gate, side, kind, _blurred(size, size_edges), _blurred(offset, offset_edges)


@struct.dataclass
class NormalHead:
    """Diagonal Normal of the maker: latents are the draw itself, clipped only where the market decodes them."""

    mean: Array  # [D]
    log_std: Array  # [D]

    def sample(self, key: Array) -> Array:
        """A draw, [D]."""
        n_pairs = -(-self.mean.shape[0] // 2)
        normal = standard_normal(jax.random.uniform(key, (2 * n_pairs,), jnp.float32))
        return self.mean + jnp.exp(self.log_std) * normal[: self.mean.shape[0]]

    def log_prob(self, latents: Array) -> Array:
        """Log-density of the unclipped draw, nats, []."""
        chex.assert_equal_shape([self.mean, self.log_std, latents])
        return jnp.sum(_normal(self).log_prob(latents))

    def entropy(self) -> Array:
        """``sum log std + D / 2 log(2 pi e)``, nats, []."""
        return jnp.sum(_normal(self).entropy())

    def mode(self) -> Array:
        """The mean, [D]."""
        return self.mean


@struct.dataclass
class TanhNormalHead:
    """Law of ``tanh u``, ``u`` Normal: the arbitrageur's. The latent is ``u``, so no inverse is ever taken."""

    mean: Array  # []
    log_std: Array  # []

    def sample(self, key: Array) -> Array:
        """A pre-tanh draw ``u``, []."""
        return self.mean + jnp.exp(self.log_std) * standard_normal(jax.random.uniform(key, (2,), jnp.float32))[0]

    def log_prob(self, latents: Array) -> Array:
        """Log-density of the action ``tanh u``: ``log N(u) - log(1 - tanh^2 u)``, nats, []."""
        chex.assert_equal_shape([self.mean, self.log_std, latents])
        return _normal(self).log_prob(latents) - _log_tanh_slope(latents)

    def entropy(self) -> Array:
        """``H(u) + E log(1 - tanh^2 u)``, nats, []; the expectation by 64-node Gauss-Hermite quadrature.

        Error below 1e-4 nats for standard deviations up to 1, 1e-2 up to 5 (the integrand bends within |u| < 1).
        """
        draws = self.mean + jnp.exp(self.log_std) * jnp.asarray(_HERMITE_NODES, jnp.float32)
        weights = jnp.asarray(_HERMITE_WEIGHTS / _HERMITE_WEIGHTS.sum(), jnp.float32)
        return _normal(self).entropy() + jnp.sum(weights * _log_tanh_slope(draws))

    def mode(self) -> Array:
        """The mean of ``u``, whose tanh is the median action, []."""
        return self.mean


def execution_head(raw: Array) -> ExecutionHead:
    """An :class:`ExecutionHead` from seven network outputs, in the order of its fields."""
    chex.assert_shape(raw, (7,))
    return ExecutionHead(raw[:3], *beta_parameter(raw[3:]).reshape(2, 2))


def _inside(latent: Array) -> Array:
    return jnp.clip(latent, LATENT_EPS, 1.0 - LATENT_EPS)


def _blurred(x: Array, edges: np.ndarray) -> Array:
    """Share of ``[x - blur, x + blur]`` in each cell, [n]."""
    below = jnp.clip((jnp.asarray(edges, jnp.float32) - x + MODE_BLUR) / (2.0 * MODE_BLUR), 0.0, 1.0)
    return jnp.diff(below, prepend=0.0, append=1.0)


def _normal(head: NormalHead | TanhNormalHead) -> "distrax.Normal":
    import distrax

    return distrax.Normal(head.mean, jnp.exp(head.log_std))


def _log_tanh_slope(u: Array) -> Array:
    """``log(1 - tanh^2 u) = 2 (log 2 - u - softplus(-2 u))``, finite for every finite u."""
    return 2.0 * (jnp.log(2.0) - u - jax.nn.softplus(-2.0 * u))
