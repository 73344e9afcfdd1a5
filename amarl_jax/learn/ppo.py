"""Clipped PPO of chosen agents with a centralised critic, over minibatches of whole environments."""

from typing import Any, Protocol, Self, TypeVar

import jax
import jax.numpy as jnp
from flax import struct

from amarl_jax.learn.experience import Experience
from amarl_jax.learn.game import AGENT_NAMES, Learnable
from amarl_jax.learn.hypers import Hypers
from amarl_jax.learn.losses import clipped_surrogate, value_loss
from amarl_jax.learn.optimiser import Agents, Trained, descend, scheduled
from amarl_jax.learn.returns import gae, normalise
from amarl_jax.types import N_AGENTS, Agent, Array, PyTree

ACTOR_METRICS = ("surrogate", "entropy", "approx_kl", "clip_fraction")


@struct.dataclass
class PpoBatch:
    """What the losses need of a rollout; per-agent entries are tuples in the order of Agent."""

    seen: tuple[Any, ...]  # [E, T, D] each
    latents: tuple[Any, ...]  # [E, T, ...] each
    log_prob: tuple[Any, ...]  # [E, T] each, of the policy that acted
    advantage: tuple[Array, ...]  # [E, T] each, normalised per agent
    target: Array  # [E, T, agent]
    mask: Array  # [E, T, agent], 1 where an agent's terms count: execution at z = 1 only
    global_seen: Array  # [E, T, D]
    actions: tuple[Array, ...]  # [E, T, D] each, executed, as the critic's other heads see them


class Learner(Protocol):
    """What PPO changes of a training state; it may carry more."""

    @property
    def agents(self) -> Agents:
        """Policies and their optimisers."""
        ...

    @property
    def critic(self) -> Trained:
        """The central critic."""
        ...

    @property
    def update(self) -> Array:
        """[] int32, updates done."""
        ...

    def replace(self, **changes: Any) -> Self:
        """The same state with these fields changed."""
        ...


LearnerT = TypeVar("LearnerT", bound=Learner)


def values(critic: PyTree, global_seen: Array, actions: tuple[Array, ...], game: Learnable) -> Array:
    """``V_i(s, a_-i)`` over leading axes, [..., agent]."""
    lead = global_seen.shape[:-1]
    flat = jax.tree.map(lambda x: x.reshape(-1, x.shape[-1]), (global_seen, actions))
    value = jax.vmap(lambda s, a: game.critic.apply(critic, s, a))(*flat)
    return value.reshape(*lead, N_AGENTS)


def make_batch(critic: PyTree, experience: Experience, game: Learnable, hypers: Hypers) -> PpoBatch:
    """Advantages and targets from the critic as it stands.

    Args:
        critic: its parameters.
        experience: [E] episodes of any game.
        game: static bundle.
        hypers: traced hyperparameters.
    """
    value = values(critic, experience.global_seen, experience.actions, game)
    over_agents = jax.vmap(lambda r, v, g: gae(r, v, g, hypers.gae_decay), in_axes=(1, 1, 0), out_axes=1)
    advantage, target = jax.vmap(lambda r, v: over_agents(r, v, hypers.discount))(experience.reward, value)
    return PpoBatch(
        seen=experience.seen,
        latents=experience.latents,
        log_prob=experience.log_prob,
        advantage=tuple(normalise(advantage[..., i], experience.mask[..., i]) for i in Agent),
        target=target,
        mask=experience.mask,
        global_seen=experience.global_seen,
        actions=experience.actions,
    )


def actor_loss(
    parameters: PyTree, agent: Agent, batch: PpoBatch, game: Learnable, hypers: Hypers
) -> tuple[Array, dict[str, Array]]:
    """``clipped surrogate - entropy_weight * entropy`` of one agent, and its diagnostics."""
    module = game.actor(agent)
    mask = batch.mask[..., agent].reshape(-1)
    seen, latents, log_prob, advantage = jax.tree.map(
        lambda x: x.reshape(-1, *x.shape[2:]),
        (batch.seen[agent], batch.latents[agent], batch.log_prob[agent], batch.advantage[agent]),
    )

    def evaluate(observation: Array, latent: PyTree) -> tuple[Array, Array]:
        head = module.apply(parameters, observation)
        return head.log_prob(latent), head.entropy()

    new_log_prob, entropy = jax.vmap(evaluate)(seen, latents)
    surrogate, aux = clipped_surrogate(new_log_prob, log_prob, advantage, mask, hypers.clip_ratio)
    mean_entropy = jnp.sum(entropy * mask) / jnp.maximum(jnp.sum(mask), 1.0)
    measured = (surrogate, mean_entropy, aux.approx_kl, aux.clip_fraction)
    diagnostics = {f"{AGENT_NAMES[agent]}/{name}": x for name, x in zip(ACTOR_METRICS, measured, strict=True)}
    return surrogate - hypers.entropy_weight * mean_entropy, diagnostics


def critic_loss(parameters: PyTree, batch: PpoBatch, game: Learnable, hypers: Hypers) -> Array:
    """``value_weight * sum_i mean (V_i - target_i)^2``, over the entries each head's mask lets count."""
    value = values(parameters, batch.global_seen, batch.actions, game)
    errors = [value_loss(value[..., i], batch.target[..., i], batch.mask[..., i]) for i in Agent]
    return hypers.value_weight * jnp.sum(jnp.stack(errors))


def _minibatch_step(
    agents: Agents,
    critic: Trained,
    batch: PpoBatch,
    trained: tuple[Agent, ...],
    update: Array,
    game: Learnable,
    hypers: Hypers,
) -> tuple[Agents, Trained, dict[str, Array]]:
    """One gradient step of the trained agents and of the critic."""
    lr_actor = scheduled(hypers.lr_actor, update, hypers)
    networks, metrics = list(agents), dict[str, Array]()
    for agent in trained:
        gradient, diagnostics = jax.grad(actor_loss, has_aux=True)(agents[agent].params, agent, batch, game, hypers)
        networks[agent] = descend(agents[agent], gradient, lr_actor, hypers)
        metrics |= diagnostics
    metrics["critic/loss"], gradient = jax.value_and_grad(critic_loss)(critic.params, batch, game, hypers)
    critic = descend(critic, gradient, scheduled(hypers.lr_critic, update, hypers), hypers)
    return Agents(*networks), critic, metrics


def improve(
    key: Array, state: LearnerT, batch: PpoBatch, trained: tuple[Agent, ...], game: Learnable, hypers: Hypers
) -> tuple[LearnerT, dict[str, Array]]:
    """``n_epochs`` passes of PPO over the rollout; agents not in ``trained`` are not touched.

    Returns:
        The learner, and diagnostics averaged over the last epoch.
    """
    n_envs, n_minibatches = game.learn.n_envs, game.learn.n_minibatches

    def step(carry: tuple[Agents, Trained], rows: Array) -> tuple[tuple[Agents, Trained], dict[str, Array]]:
        part = jax.tree.map(lambda x: x[rows], batch)
        agents, critic, metrics = _minibatch_step(*carry, part, trained, state.update, game, hypers)
        return (agents, critic), metrics

    def epoch(carry: tuple[Agents, Trained], rows: Array) -> tuple[tuple[Agents, Trained], dict[str, Array]]:
        return jax.lax.scan(step, carry, rows)

    orders = jnp.argsort(jax.random.bits(key, (game.learn.n_epochs, n_envs)))
    rows = orders.reshape(game.learn.n_epochs, n_minibatches, -1)
    (agents, critic), metrics = jax.lax.scan(epoch, (state.agents, state.critic), rows)
    return state.replace(agents=agents, critic=critic), jax.tree.map(lambda x: jnp.mean(x[-1]), metrics)
