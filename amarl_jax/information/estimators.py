"""Estimators of I(z; f) from critic scores: one Protocol, one registry.

Each reads scores ``[B, *S, C]`` (see :mod:`amarl_jax.information.mine`), labels [B] and a prior. For one and the same
critic, on any sample, ``nwj <= mine <= barber_agakov``.
"""

import dataclasses
import importlib
import os
import sys
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from amarl_jax.information import mine
from amarl_jax.types import Array


class MIEstimator(Protocol):
    """A way to train a critic and to read a bound from it."""

    @property
    def name(self) -> str:
        """Its key in the registry."""
        ...

    def init(self, shape: tuple[int, ...] = ()) -> Any:
        """State before the first update, for partitions of shape S; a pytree of arrays."""
        ...

    def loss(
        self, scores: Array, labels: Array, prior: Array | float, state: Any, ema_decay: Array | float
    ) -> tuple[Array, Any]:
        """Training loss [] averaged over S, and the next state."""
        ...

    def bound(self, scores: Array, labels: Array, prior: Array | float) -> Array:
        """Estimate of I(z; f) in nats for each position of S; held out if the episodes are."""
        ...


@dataclasses.dataclass(frozen=True)
class Mine:
    """Donsker-Varadhan with a moving-average partition in the gradient (Belghazi et al. 2018)."""

    name: str = "mine"

    def init(self, shape: tuple[int, ...] = ()) -> mine.MineState:
        """Moving averages of the partition, [*S]."""
        return mine.init_mine(shape)

    def loss(
        self, scores: Array, labels: Array, prior: Array | float, state: Any, ema_decay: Array | float
    ) -> tuple[Array, Any]:
        """See :func:`amarl_jax.information.mine.mine_loss`."""
        return mine.mine_loss(scores, labels, prior, state, ema_decay)

    def bound(self, scores: Array, labels: Array, prior: Array | float) -> Array:
        """``E_joint[T] - log E_marg[exp T]``."""
        return mine.donsker_varadhan(scores, labels, prior)


class MaximisesItsBound:
    """An estimator without state whose training loss is minus its bound: a subclass defines ``name`` and ``bound``."""

    def init(self, shape: tuple[int, ...] = ()) -> tuple[()]:
        """No state."""
        return ()

    def loss(
        self, scores: Array, labels: Array, prior: Array | float, state: Any, ema_decay: Array | float
    ) -> tuple[Array, Any]:
        """Minus the bound."""
        return -jnp.mean(self.bound(scores, labels, prior)), state

    def bound(self, scores: Array, labels: Array, prior: Array | float) -> Array:
        """Each estimator's own."""
        raise TypeError(f"{type(self).__name__} does not say what its bound is")


@dataclasses.dataclass(frozen=True)
class NguyenWainwrightJordan(MaximisesItsBound):
    """``E_joint[T] - E_marg[exp(T - 1)]`` (Nguyen, Wainwright and Jordan 2010): unbiased, high variance."""

    name: str = "nwj"

    def bound(self, scores: Array, labels: Array, prior: Array | float) -> Array:
        """``E_joint[T] - E_marg[exp(T - 1)]``."""
        return mine.joint_mean(scores, labels, prior) - mine.marginal_mean(jnp.exp(scores - 1.0), labels, prior)


@dataclasses.dataclass(frozen=True)
class BarberAgakov(MaximisesItsBound):
    """``H(z) - CE`` of the critic's posterior (Barber and Agakov 2003): the tightest of the three, never above H(z)."""

    name: str = "barber_agakov"

    def bound(self, scores: Array, labels: Array, prior: Array | float) -> Array:
        """``E_joint[log p(z|f) - log p(z)]`` with ``p(z|f)`` the normalised ``p(z) exp T(z, f)``."""
        log_p = mine.log_prior(prior).reshape((*(1,) * (scores.ndim - 1), -1))
        return mine.joint_mean(mine.log_posterior(scores, prior) - log_p, labels, prior)


@dataclasses.dataclass(frozen=True)
class Smile:
    """A critic trained on the Jensen-Shannon objective, read through a clipped partition (Song and Ermon 2020).

    The clip trades variance for bias: the value is an estimate, not strictly a lower bound.
    """

    name: str = "smile"
    clip_nats: float = 5.0  # tau: exp T enters the partition within [exp -tau, exp tau]

    def init(self, shape: tuple[int, ...] = ()) -> tuple[()]:
        """No state."""
        return ()

    def loss(
        self, scores: Array, labels: Array, prior: Array | float, state: Any, ema_decay: Array | float
    ) -> tuple[Array, Any]:
        """``E_joint[softplus(-T)] + E_marg[softplus(T)]``, whose minimiser is the log density ratio."""
        joint = mine.joint_mean(jax.nn.softplus(-scores), labels, prior)
        return jnp.mean(joint + mine.marginal_mean(jax.nn.softplus(scores), labels, prior)), state

    def bound(self, scores: Array, labels: Array, prior: Array | float) -> Array:
        """``E_joint[T] - log E_marg[clip(exp T, exp -tau, exp tau)]``."""
        clipped = jnp.clip(scores, -self.clip_nats, self.clip_nats)
        return mine.joint_mean(scores, labels, prior) - mine.log_partition(clipped, labels, prior)


REGISTRY: dict[str, MIEstimator] = {
    estimator.name: estimator for estimator in (Mine(), NguyenWainwrightJordan(), BarberAgakov(), Smile())
}


def get(name: str) -> MIEstimator:
    """The registered estimator of that name; ValueError names the choices."""
    if name not in REGISTRY:
        raise ValueError(f"unknown mutual-information estimator {name!r}, choose one of {sorted(REGISTRY)}")
    return REGISTRY[name]


def register(estimator: MIEstimator) -> MIEstimator:
    """Make an estimator available by its name, in :func:`amarl_jax.information.estimate` and in training.

    It is a static argument and must be hashable, as a frozen dataclass is. ValueError if the name is taken.
    """
    check_interface(estimator)
    if estimator.name in REGISTRY:
        raise ValueError(f"a mutual-information estimator named {estimator.name!r} exists already")
    REGISTRY[estimator.name] = estimator
    return estimator


def check_interface(estimator: Any) -> None:
    """Raise ValueError unless an object has what an estimator must have, and a hash."""
    if any(not hasattr(estimator, name) for name in ("name", "init", "loss", "bound")):
        raise ValueError(f"estimator must be a name or an MIEstimator, got {estimator!r}")
    if type(estimator).__hash__ is None:
        raise ValueError(f"estimator must have a hash, as a frozen dataclass does, got {estimator!r}")


def named(place: str) -> MIEstimator:
    """The estimator at ``module:name``, registered under that name; the object there may be its class.

    The first call imports the module, from Python's path or the current folder. That executes it, so ``place`` must
    come from the user of this process, never from a file.

    Raises:
        ValueError: there is no estimator; says what is there instead.
    """
    if place in REGISTRY:
        return REGISTRY[place]
    module, _, name = place.partition(":")
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())  # python -m puts it there, a console script does not
    try:
        found = getattr(importlib.import_module(module), name)
        found = found() if isinstance(found, type) else found
        check_interface(found)
    except (Exception, SystemExit) as error:
        raise ValueError(f"module:name of an estimator of yours ({type(error).__name__}: {error})") from error
    return REGISTRY.setdefault(place, found)
