"""One rollout of a phase: play, score, fit what reads the tape, improve the agents that train."""

import functools

import jax
import jax.numpy as jnp

from amarl_jax.information.mine import claimed_information
from amarl_jax.learn import sources
from amarl_jax.learn.experience import market_experience
from amarl_jax.learn.game import AGENT_NAMES, Game
from amarl_jax.learn.hypers import Hypers
from amarl_jax.learn.metrics import Metrics
from amarl_jax.learn.ppo import ACTOR_METRICS, PpoBatch, improve_actors, improve_critic, make_batch, minibatches
from amarl_jax.learn.rollout import Players, Trajectory, rollouts, stratified_labels
from amarl_jax.learn.scoring import Scores, score
from amarl_jax.learn.state import TrainState
from amarl_jax.market.params import EnvParams
from amarl_jax.nets.belief import debias, init_memory
from amarl_jax.policies.learned import learned_policy
from amarl_jax.types import Agent, Array, PyTree, Tape


class TransformerBelief:
    """The belief network, decoding one token per step; what it returns is the de-biased posterior.

    With ``hypers.belief_frozen`` it returns the prior, and still learns; its hidden state is what it would have been.
    """

    def __init__(self, parameters: PyTree, game: Game, hypers: Hypers) -> None:
        self.parameters, self.game, self.hypers = parameters, game, hypers

    def init(self, params: EnvParams) -> PyTree:
        """Nothing seen yet."""
        return init_memory(self.game.network.belief, self.game.market_spec.horizon)

    def read(self, memory: PyTree, tape: Tape, time: Array, params: EnvParams) -> tuple[PyTree, Array, Array]:
        """One step of tape."""
        decode = self.game.belief.decode
        memory, logit, hidden = self.game.belief.apply(self.parameters, memory, tape, time, method=decode)
        posterior = debias(jax.nn.sigmoid(logit), self.hypers.belief_loss_entropy)
        return memory, jnp.where(self.hypers.belief_frozen > 0, params.informed_probability, posterior), hidden


def players(state: TrainState, game: Game, deterministic: bool = False) -> Players:
    """The learned policies as they stand, and the scripted ones of the game."""
    policies = {
        agent: learned_policy(agent, state.agents[agent].params, game.network, game.market_spec, deterministic)
        for agent in Agent
    }
    return Players(*(policies | dict(game.scripted)).values())


def play(
    key: Array,
    state: TrainState,
    game: Game,
    hypers: Hypers,
    params: EnvParams,
    n_envs: int | None = None,
    deterministic: bool = False,
) -> Trajectory:
    """``n_envs`` episodes of the learned agents with fresh keys, ``z`` stratified. [E] leading."""
    key_labels, key_episodes = jax.random.split(key)
    n_envs = n_envs or game.learn.n_envs
    z = stratified_labels(key_labels, n_envs, params.informed_probability)
    belief = TransformerBelief(state.belief.params, game, hypers)
    keys = jax.random.split(key_episodes, n_envs)
    return rollouts(keys, game.market, players(state, game, deterministic), belief, z, params)


def play_and_learn(
    state: TrainState, phase: Array, game: Game, hypers: Hypers, params: EnvParams
) -> tuple[TrainState, Metrics]:
    """One rollout and everything learned from it.

    The phase decides who learns. It must not be batched: as a number shared by all lanes it leaves a real branch in
    the compiled program, while playing and scoring are compiled once for both phases.

    Args:
        state: the learner.
        phase: [] int32, index into ``game.phases()``.
        game: static bundle.
        hypers: traced hyperparameters.
        params: market constants.

    Returns:
        The learner, and scalar metrics; those of whatever did not learn are 0.
    """
    key, key_play, key_mine, key_belief, key_rows = jax.random.split(state.key, 5)
    state = state.replace(key=key)
    with jax.named_scope("play"):
        trajectory = play(key_play, state, game, hypers, params)
    with jax.named_scope("score"):
        scores = score(state, trajectory, game, hypers, params)
    with jax.named_scope("advantages"):
        experience = market_experience(trajectory, scores.reward, game, params)
        batch = make_batch(state.critic.params, experience, game, hypers)
    branches = [
        functools.partial(_learn, trained=trained, game=game, hypers=hypers, params=params) for trained in game.phases()
    ]
    rows = minibatches(key_rows, game)
    with jax.named_scope("critic"):
        critic, of_critic = improve_critic(rows, state, batch, game, hypers)
    operands = (key_mine, key_belief, rows, state, trajectory, scores.flow, batch)
    state, learned = jax.lax.switch(phase, branches, *operands) if len(branches) > 1 else branches[0](*operands)
    always = rollout_metrics(trajectory, scores, params) | of_critic
    return state.replace(critic=critic), Metrics.of(always) | learned


def _learn(
    key_mine: Array,
    key_belief: Array,
    rows: Array,
    state: TrainState,
    trajectory: Trajectory,
    flow: Array,
    batch: PpoBatch,
    *,
    trained: tuple[Agent, ...],
    game: Game,
    hypers: Hypers,
    params: EnvParams,
) -> tuple[TrainState, Metrics]:
    """Fit what reads the tape, improve the agents that train; the others stay bit for bit.

    Where execution trains, the MI critic and the predictor are fitted; where the maker trains, the belief is. All
    that pays rewards has scored the rollout before.
    """
    metrics = dict.fromkeys(learned_metric_names(), jnp.float32(0.0))
    if Agent.EXECUTION in trained:
        with jax.named_scope("mine"):
            state, fitted = sources.fit_mine(key_mine, state, trajectory, flow, game, hypers, params)
        metrics |= fitted
        with jax.named_scope("predictor"):
            state, fitted = sources.fit_predictor(state, trajectory, game, hypers)
        metrics |= fitted
    if Agent.MAKER in trained:
        with jax.named_scope("belief"):
            state, fitted = sources.fit_belief(key_belief, state, trajectory, game, hypers)
        metrics |= fitted
    with jax.named_scope("ppo"):
        agents, improved = improve_actors(rows, state, batch, game.improved(trained), game, hypers)
    others = {name: x for name, x in metrics.items() if name not in improved}
    return state.replace(agents=agents), Metrics.of(others) | improved


def learned_metric_names() -> tuple[str, ...]:
    """Every metric that some phase's learning measures; the critic's loss is every phase's."""
    of_agents = [f"{AGENT_NAMES[agent]}/{name}" for agent in Agent for name in ACTOR_METRICS]
    return (*of_agents, "mine/loss", "predictor/loss", "belief/loss")


def metrics_measured(trained: tuple[Agent, ...], game: Game) -> tuple[str, ...]:
    """Those of :func:`learned_metric_names` that a phase training these agents measures."""
    names = [f"{AGENT_NAMES[agent]}/{name}" for agent in game.improved(trained) for name in ACTOR_METRICS]
    names += ["mine/loss", "predictor/loss"] if Agent.EXECUTION in trained else []
    return (*names, *(["belief/loss"] if Agent.MAKER in trained else []))


def rollout_metrics(trajectory: Trajectory, scores: Scores, params: EnvParams) -> dict[str, Array]:
    """What one rollout says of the game, scalars; money in reward units, information in nats.

    ``information/*_nats`` are what the leakage source and the maker's belief claim of the episode's end. Both read
    the rollout before they are fitted to it, so both bound I(z; F) from below.
    """
    prior = params.informed_probability
    informed = trajectory.z.astype(jnp.float32)
    n_informed = jnp.maximum(jnp.sum(informed), 1.0)

    def informed_mean(x: Array) -> Array:
        return jnp.sum(informed * x) / n_informed

    belief = trajectory.belief
    right = (belief[:, -1] > prior) == (trajectory.z == 1)
    position = trajectory.direction * trajectory.output.inventory[:, -1, 0]
    counters = trajectory.final.book.counters
    return {
        "execution/reward": informed_mean(jnp.sum(scores.reward[..., Agent.EXECUTION], axis=1)),
        "execution/shortfall": informed_mean(jnp.sum(scores.terms.shortfall, axis=1)),
        "execution/completion": informed_mean(position / params.parent_lots),
        "execution/leakage": informed_mean(jnp.sum(scores.leakage, axis=1)),
        "execution/predictability": informed_mean(jnp.sum(scores.predictability, axis=1)),
        "maker/reward": jnp.mean(jnp.sum(scores.reward[..., Agent.MAKER], axis=1)),
        "maker/pnl": jnp.mean(jnp.sum(scores.terms.maker_pnl, axis=1)),
        "maker/adverse_selection": jnp.mean(jnp.sum(scores.terms.adverse_selection, axis=1)),
        "maker/quoted_spread_ticks": jnp.mean(
            1.0 * (trajectory.output.quotes.price[..., 1] - trajectory.output.quotes.price[..., 0])
        ),
        "arbitrageur/reward": jnp.mean(jnp.sum(scores.reward[..., Agent.ARBITRAGEUR], axis=1)),
        "arbitrageur/pnl": jnp.mean(jnp.sum(scores.terms.arbitrageur_pnl, axis=1)),
        "arbitrageur/snipe_lots": jnp.mean(jnp.sum(1.0 * trajectory.output.snipe_lots, axis=1)),
        "information/source_nats": claimed_information(jnp.exp(scores.log_posterior[:, -1]), trajectory.z, prior),
        "information/belief_nats": claimed_information(belief[:, -1], trajectory.z, prior),
        "belief/final_accuracy": jnp.mean(1.0 * right),
        "belief/mean": jnp.mean(belief),
        "market/spread_ticks": jnp.mean(1.0 * trajectory.output.tape.spread_ticks),
        "market/traded_lots": jnp.mean(jnp.sum(1.0 * trajectory.output.traded_lots, axis=1)),
        "market/refused": jnp.mean(1.0 * counters.refused),
        "market/evicted": jnp.mean(1.0 * counters.evicted),
        "market/noise_cut": jnp.mean(1.0 * trajectory.final.noise_cut),
    }
