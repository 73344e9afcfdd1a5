"""Clipped PPO of chosen agents with a centralised critic, over minibatches of whole environments."""

from collections.abc import Callable
from typing import Any, Protocol, Self, TypeVar

import jax
import jax.numpy as jnp
from flax import struct

from amarl_jax.learn.experience import Experience
from amarl_jax.learn.game import Learnable
from amarl_jax.learn.hypers import Hypers
from amarl_jax.learn.losses import clipped_surrogate, masked_mean, value_loss
from amarl_jax.learn.metrics import Metrics
from amarl_jax.learn.optimiser import Agents, Network, descend, scheduled
from amarl_jax.learn.returns import gae, normalise
from amarl_jax.trees import pack
from amarl_jax.types import AGENT_NAMES, N_AGENTS, Agent, Array, PyTree

ACTOR_METRICS = ("surrogate", "entropy", "approx_kl", "clip_fraction")


@struct.dataclass
class ActorBatch:
    """What an agent's loss needs of a rollout."""

    seen: Any  # [E, T, D]
    latents: Any  # [E, T, ...]
    log_prob: Any  # [E, T], of the policy that acted
    advantage: Array  # [E, T], normalised
    mask: Array  # [E, T], 1 where the agent's terms count: execution at z = 1 only
    beside: tuple[Any, ...] = ()  # further inputs of the network, the same in all steps


@struct.dataclass
class CriticBatch:
    """What the critic's loss needs of a rollout."""

    target: Array  # [E, T, agent]
    mask: Array  # [E, T, agent], as of each actor
    global_seen: Array  # [E, T, D]
    actions: tuple[Array, ...]  # [E, T, D] each, executed, as the critic's other heads see them


@struct.dataclass
class PpoBatch:
    """What the losses need of a rollout."""

    actors: tuple[ActorBatch, ...]  # in the order of Agent
    critic: CriticBatch


class Learner(Protocol):
    """What PPO changes of a training state; it may carry more."""

    @property
    def agents(self) -> Agents:
        """Policies and their optimisers."""
        ...

    @property
    def critic(self) -> Network:
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
    advantage, mask = normalise(advantage, experience.mask, game.learn.split), experience.mask
    acted = zip(Agent, experience.seen, experience.latents, experience.log_prob, experience.beside, strict=True)
    return PpoBatch(
        actors=tuple(
            ActorBatch(seen, latents, log_prob, advantage[..., agent], mask[..., agent], beside)
            for agent, seen, latents, log_prob, beside in acted
        ),
        critic=CriticBatch(target, mask, experience.global_seen, experience.actions),
    )


def actor_loss(
    parameters: PyTree, agent: Agent, batch: ActorBatch, game: Learnable, hypers: Hypers
) -> tuple[Array, dict[str, Array]]:
    """``clipped surrogate - entropy_weight * entropy`` of one agent, and its diagnostics; of several devices, terms."""
    module, beside, split = game.actor(agent), batch.beside, game.learn.split
    batch = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch.replace(beside=()))  # type: ignore[attr-defined]

    def evaluate(observation: Array, latent: PyTree) -> tuple[Array, Array]:
        head = module.apply(parameters, observation, *beside)
        return head.log_prob(latent), head.entropy()

    log_prob, entropy = jax.vmap(evaluate)(batch.seen, batch.latents)
    surrogate, aux = clipped_surrogate(log_prob, batch.log_prob, batch.advantage, batch.mask, hypers.clip_ratio, split)
    mean_entropy = masked_mean(entropy, batch.mask, split=split)
    measured = (surrogate, mean_entropy, aux.approx_kl, aux.clip_fraction)
    diagnostics = {f"{AGENT_NAMES[agent]}/{name}": x for name, x in zip(ACTOR_METRICS, measured, strict=True)}
    return surrogate - hypers.entropy_weight * mean_entropy, diagnostics


def critic_loss(parameters: PyTree, batch: CriticBatch, game: Learnable, hypers: Hypers) -> Array:
    """``value_weight * sum_i mean (V_i - target_i)^2``, over unmasked entries; of several devices, terms."""
    value = values(parameters, batch.global_seen, batch.actions, game)
    return hypers.value_weight * jnp.sum(value_loss(value, batch.target, batch.mask, game.learn.split))


def minibatches(key: Array, game: Learnable) -> Array:
    """Environments of every minibatch of every epoch, each once an epoch, [epoch, minibatch, n].

    Of several devices each draws minibatches of its own environments, and a step is on those of all.
    """
    split, n_envs = game.learn.split, game.learn.split.share(game.learn.n_envs)
    orders = jnp.argsort(jax.random.bits(split.own_key(key), (game.learn.n_epochs, n_envs), jnp.uint32))
    return orders.reshape(game.learn.n_epochs, game.learn.n_minibatches, -1)


def improve_actors(
    rows: Array, state: Learner, batch: PpoBatch, trained: tuple[Agent, ...], game: Learnable, hypers: Hypers
) -> tuple[Agents, Metrics]:
    """Take one gradient step of the trained agents on each of :func:`minibatches`; the others are not touched.

    Returns:
        The agents, and diagnostics averaged over the last epoch.
    """
    learning_rate = scheduled(hypers.lr_actor, state.update, hypers)
    packed = {agent: pack(batch.actors[agent].replace(beside=()), n_lead=2) for agent in trained}  # type: ignore[attr-defined]

    def step(networks: dict[Agent, Network], rows: Array) -> tuple[dict[Agent, Network], Metrics]:
        stepped, metrics = dict[Agent, Network](), dict[str, Array]()
        for agent, network in networks.items():
            part = packed[agent].take(rows).replace(beside=batch.actors[agent].beside)
            found = jax.grad(actor_loss, has_aux=True)(network.params, agent, part, game, hypers)
            gradient, diagnostics = game.learn.split.sum(found)
            stepped[agent] = descend(network, gradient, learning_rate, hypers)
            metrics |= diagnostics
        return stepped, Metrics.of(metrics)

    networks, metrics = _over_epochs(step, {agent: state.agents[agent] for agent in trained}, rows)
    agents = Agents(*(networks.get(agent, state.agents[agent]) for agent in Agent))
    return agents, jax.tree.map(lambda x: jnp.mean(x[-1], axis=0), metrics)


def improve_critic(
    rows: Array, state: Learner, batch: PpoBatch, game: Learnable, hypers: Hypers
) -> tuple[Network, dict[str, Array]]:
    """The critic after a gradient step on each of :func:`minibatches`, and its loss averaged over the last epoch.

    Separate from the actors' steps, which do not use it, so that it is compiled once for all phases.
    """
    learning_rate = scheduled(hypers.lr_critic, state.update, hypers)
    packed = pack(batch.critic, n_lead=2)

    def step(critic: Network, rows: Array) -> tuple[Network, Array]:
        part = packed.take(rows)
        found = jax.value_and_grad(critic_loss)(critic.params, part, game, hypers)
        loss, gradient = game.learn.split.sum(found)
        return descend(critic, gradient, learning_rate, hypers), loss

    critic, losses = _over_epochs(step, state.critic, rows)
    return critic, {"critic/loss": jnp.mean(losses[-1])}


def _over_epochs(step: Callable[[Any, Array], tuple[Any, Any]], start: Any, rows: Array) -> tuple[Any, Any]:
    """Scan ``step`` over all minibatches; its outputs lead with [epoch, minibatch]."""
    return jax.lax.scan(lambda carry, epoch: jax.lax.scan(step, carry, epoch), start, rows)


def improve(
    key: Array, state: LearnerT, batch: PpoBatch, trained: tuple[Agent, ...], game: Learnable, hypers: Hypers
) -> tuple[LearnerT, Metrics]:
    """Make ``n_epochs`` passes of PPO over the rollout: :func:`improve_actors` and :func:`improve_critic`."""
    rows = minibatches(key, game)
    agents, metrics = improve_actors(rows, state, batch, trained, game, hypers)
    critic, of_critic = improve_critic(rows, state, batch, game, hypers)
    return state.replace(agents=agents, critic=critic), metrics | Metrics.of(of_critic)
