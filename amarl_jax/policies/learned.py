"""Policies that are networks: features in, latents drawn, an action decoded from them."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from amarl_jax.market import observe
from amarl_jax.market.env import Market
from amarl_jax.market.noise import MarksLaw, NoiseLaw, orders
from amarl_jax.market.observe import ExecutionView
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.market.slot import SlotLaw, one_way
from amarl_jax.nets.actors import ArbitrageurActor, ExecutionActor, MakerActor
from amarl_jax.nets.heads import ExecutionLatents
from amarl_jax.nets.spec import NetworkSpec
from amarl_jax.nets.tilt import NoiseCells, TiltActor, TiltInput
from amarl_jax.policies.protocol import Decision
from amarl_jax.policies.tilted import Tilted
from amarl_jax.types import Agent, Array, PyTree


def decode_execution(latents: ExecutionLatents, spec: MarketSpec) -> Array:
    """``[size_frac, limit_offset, order_type_logit]``; integer offsets of equal width in the latent. [3]."""
    n_offsets = spec.n_offsets
    sign = jnp.where(latents.side > 0.5, 1.0, -1.0)
    offset = spec.offset_min_ticks + jnp.minimum(jnp.floor(latents.offset * n_offsets), n_offsets - 1)
    return jnp.stack(
        [
            jnp.where(latents.gate > 0.5, sign * latents.size, 0.0),
            offset,
            jnp.where(latents.kind > 0.5, 1.0, -1.0),
        ]
    )


def decode_maker(latents: Array, params: EnvParams) -> Array:
    """Bid and ask offset in ticks, bid and ask size fractions: latents of [-1, 1] span each range, clipped. [4]."""
    unit = jnp.clip(0.5 * (latents + 1.0), 0.0, 1.0)
    return unit.at[:2].multiply(params.max_spread_ticks)


def actor(agent: Agent, spec: NetworkSpec) -> nn.Module:
    """The network of one agent."""
    if agent == Agent.EXECUTION:
        kind = TiltActor if tilts(agent, spec) else ExecutionActor
        return kind(spec.execution_hidden, products=spec.products)
    if agent == Agent.MAKER:
        return MakerActor(spec.maker_hidden, products=spec.products)
    return ArbitrageurActor(spec.arbitrageur_hidden, products=spec.products)


def tilts(agent: Agent, spec: NetworkSpec) -> bool:
    """True if the agent's network tilts the noise law, which it then takes as an input beside its features."""
    return agent == Agent.EXECUTION and spec.execution_head == "tilt"


def features(agent: Agent, view: Any, params: EnvParams) -> Array:
    """The network input of one agent, from its view. [D] float32."""
    if agent == Agent.EXECUTION:
        return observe.execution_features(view)
    if agent == Agent.MAKER:
        return observe.maker_features(view, params)
    return observe.arbitrageur_features(view, params)


def observation_sizes(spec: MarketSpec, params: EnvParams) -> tuple[int, ...]:
    """Number D of every agent's features."""

    def opening(key: Array) -> list[Array]:
        state = Market(spec).reset(key, params, jnp.int32(0))
        seen = observe.views(state, jnp.float32(0.5), params, spec)
        views = (seen.execution, seen.maker, seen.arbitrageur)
        return [features(agent, view, params) for agent, view in zip(Agent, views, strict=True)]

    return tuple(x.shape[0] for x in jax.eval_shape(opening, jax.random.key(0)))


@dataclasses.dataclass(frozen=True)
class Learned:
    """A network with its parameters, as a policy.

    Attributes:
        agent: whose policy it is.
        head_of: observation features [D] to a policy head, parameters closed over.
        spec: market sizes.
        deterministic: play the head's mode.
    """

    agent: Agent
    head_of: Callable[[Array], Any]
    spec: MarketSpec
    deterministic: bool = False

    def init(self, params: EnvParams) -> tuple[()]:
        """Nothing to remember."""
        return ()

    def act(self, key: Array, carry: tuple[()], view: Any, params: EnvParams) -> tuple[tuple[()], Decision]:
        """One draw, or the mode."""
        return carry, self.decide(key, features(self.agent, view, params), params)

    def decide(self, key: Array, observation: Array, params: EnvParams) -> Decision:
        """Decide from features [D] instead of a view."""
        head = self.head_of(observation)
        latents = head.mode() if self.deterministic else head.sample(key)
        return Decision(self._decode(latents, params), latents, head.log_prob(latents))

    def law(self, carry: tuple[()], view: ExecutionView, params: EnvParams) -> SlotLaw:
        """The law of the execution agent's decision; that of the mode is certain except within 1e-5 of an edge."""
        head = self.head_of(features(self.agent, view, params))
        lots_edges = (np.arange(1, self.spec.max_order_size) + 0.5) / self.spec.max_order_size
        offset_edges = np.arange(1, self.spec.n_offsets) / self.spec.n_offsets
        law = head.mode_law if self.deterministic else head.law
        gate, along, limit, lots, offset = law(lots_edges, offset_edges)
        buy = jnp.where(view.direction > 0, along, 1.0 - along)
        return one_way(gate, MarksLaw(buy=buy, limit=limit, lots=lots, offset=offset))

    def _decode(self, latents: Any, params: EnvParams) -> Array:
        if self.agent == Agent.EXECUTION:
            return decode_execution(latents, self.spec)
        if self.agent == Agent.MAKER:
            return decode_maker(latents, params)
        return jnp.tanh(latents)


def learned_policy(
    agent: Agent,
    parameters: PyTree,
    network: NetworkSpec,
    spec: MarketSpec,
    deterministic: bool = False,
    noise_law: NoiseLaw = orders,
) -> Learned | Tilted:
    """The policy of an agent's network parameters; a tilt head tilts the market's ``noise_law``."""
    head_of = functools.partial(actor(agent, network).apply, parameters)
    if tilts(agent, network):
        return Tilted(head_of, spec, noise_law, deterministic)
    return Learned(agent, head_of, spec, deterministic)


def init_parameters(
    key: Array, agent: Agent, view: Any, network: NetworkSpec, params: EnvParams, spec: MarketSpec | None = None
) -> PyTree:
    """Fresh network parameters for one agent; ``view``, and ``spec`` for a head that tilts, give the shapes only."""
    width = jax.eval_shape(lambda v: features(agent, v, params), view).shape
    seen = jnp.zeros(width, jnp.float32)
    if not tilts(agent, network):
        return actor(agent, network).init(key, seen)
    assert spec is not None, "a head that tilts needs the market's sizes"
    cells = NoiseCells(
        rate=jnp.float32(0.5),
        place=jnp.ones(1 + spec.n_offsets),
        lots=jnp.ones((1 + spec.n_offsets, spec.max_order_size)),
    )
    return actor(agent, network).init(key, TiltInput(seen, jnp.float32(0.5)), cells)
