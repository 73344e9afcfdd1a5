"""One rollout of a phase: play, score, fit what reads the tape, improve the agents that train."""

import functools

import jax
import jax.numpy as jnp

from amarl_jax.information.mine import barber_agakov
from amarl_jax.learn import tape_readers as sources
from amarl_jax.learn.exact_source import exact_log_posterior
from amarl_jax.learn.experience import market_experience
from amarl_jax.learn.game import Game
from amarl_jax.learn.hypers import EXACT
from amarl_jax.learn.metrics import Metrics
from amarl_jax.learn.players import TransformerBelief, players
from amarl_jax.learn.ppo import ACTOR_METRICS, PpoBatch, improve_actors, improve_critic, make_batch, minibatches
from amarl_jax.learn.rollout import Trajectory, rollouts, stratified_labels
from amarl_jax.learn.scoring import Scores, score
from amarl_jax.learn.setup import Setup
from amarl_jax.learn.split import WHOLE, EnvSplit
from amarl_jax.learn.state import TrainState
from amarl_jax.market.params import EnvParams
from amarl_jax.types import AGENT_NAMES, Agent, Array


def play(
    key: Array, state: TrainState, setup: Setup, n_envs: int | None = None, deterministic: bool = False
) -> Trajectory:
    """Play ``n_envs`` episodes of the learned agents with fresh keys, ``z`` stratified. [E] leading.

    Of several devices each plays its part of them, the same episodes as one device would.
    """
    game, params, split = setup.game, setup.params, setup.game.learn.split
    n_envs = n_envs or game.learn.n_envs
    keys = jax.random.split(key, 1 + n_envs)
    z = stratified_labels(keys[0], n_envs, params.informed_probability)
    belief = TransformerBelief(state.belief.params, setup)
    return rollouts(split.own(keys[1:]), game.market, players(state, game, deterministic), belief, split.own(z), params)


def play_and_learn(state: TrainState, phase: Array, setup: Setup) -> tuple[TrainState, Metrics]:
    """Play one rollout and train on it what its phase trains.

    The phase decides who learns. It must not be batched: as a number shared by all lanes it leaves a real branch in
    the compiled program, while playing and scoring are compiled once for both phases.

    Args:
        state: the learner.
        phase: [] int32, index into ``setup.game.phases()``.
        setup: what is trained with.

    Returns:
        The learner, and scalar metrics; those of what did not learn are 0.
    """
    game = setup.game
    key, key_play, key_mine, key_belief, key_rows, *key_exact = jax.random.split(state.key, 5 + game.reads_exactly)
    state = state.replace(key=key)
    with jax.named_scope("play"):
        trajectory = play(key_play, state, setup)
    with jax.named_scope("exact"):
        trajectory, exact = _read_exactly(key_exact, state, trajectory, setup)
    with jax.named_scope("score"):
        paid = exact if game.learn.leakage_source == EXACT else None
        scores = score(state, trajectory, setup, paid)
        target = jnp.exp(exact) if exact is not None and game.learn.belief_target == EXACT else trajectory.z
    with jax.named_scope("advantages"):
        experience = market_experience(trajectory, scores.reward, setup)
        batch = make_batch(state.critic.params, experience, game, setup.hypers)
    branches = [functools.partial(_learn, trained=trained, setup=setup) for trained in game.phases()]
    rows = minibatches(key_rows, game)
    with jax.named_scope("critic"):
        critic, of_critic = improve_critic(rows, state, batch, game, setup.hypers)
    with jax.named_scope("mine"):
        state, of_mine = sources.fit_mine(key_mine, state, trajectory, setup)
    operands = (key_belief, rows, state, trajectory, target, scores, batch)
    state, learned = jax.lax.switch(phase, branches, *operands) if len(branches) > 1 else branches[0](*operands)
    always = rollout_metrics(trajectory, scores, setup.params, game.learn.split) | Metrics.of(of_critic | of_mine)
    return state.replace(critic=critic), always | learned


def _read_exactly(
    keys: list[Array], state: TrainState, trajectory: Trajectory, setup: Setup
) -> tuple[Trajectory, Array | None]:
    """The episodes without their records, and the exact log-posterior [E, T] if a key is given."""
    if not keys:
        return trajectory, None
    exact = exact_log_posterior(keys[0], players(state, setup.game).execution, trajectory, setup)
    return trajectory.replace(output=trajectory.output.replace(record=None, slot_row=None)), exact  # type: ignore[attr-defined]


def _learn(
    key_belief: Array,
    rows: Array,
    state: TrainState,
    trajectory: Trajectory,
    target: Array,
    scores: Scores,
    batch: PpoBatch,
    *,
    trained: tuple[Agent, ...],
    setup: Setup,
) -> tuple[TrainState, Metrics]:
    """Fit the predictor or the belief, improve the agents that train; the others stay bit for bit.

    The predictor is fitted where execution trains, the belief where the maker trains, the critics and the MI critic in
    every phase, outside. All of them have scored the rollout before they are fitted to it.
    """
    metrics = dict.fromkeys(learned_metric_names(), jnp.float32(0.0))
    if Agent.EXECUTION in trained:
        with jax.named_scope("predictor"):
            state, fitted = sources.fit_predictor(state, scores.series, setup)
        metrics |= fitted
    if Agent.MAKER in trained:
        with jax.named_scope("belief"):
            state, fitted = sources.fit_belief(key_belief, state, trajectory.output.tape, target, setup)
        metrics |= fitted
    with jax.named_scope("ppo"):
        stepped = setup.game.improved(trained)
        agents, improved = improve_actors(rows, state, batch, stepped, setup.game, setup.hypers)
    others = {name: x for name, x in metrics.items() if name not in improved}
    return state.replace(agents=agents), Metrics.of(others) | improved


def learned_metric_names() -> tuple[str, ...]:
    """Names of the metrics that the learning of some phase measures, without the losses of what every phase fits."""
    of_agents = [f"{AGENT_NAMES[agent]}/{name}" for agent in Agent for name in ACTOR_METRICS]
    return (*of_agents, "predictor/loss", "belief/loss")


def metrics_measured(trained: tuple[Agent, ...], game: Game) -> tuple[str, ...]:
    """Those of :func:`learned_metric_names` that a phase training these agents measures."""
    names = [f"{AGENT_NAMES[agent]}/{name}" for agent in game.improved(trained) for name in ACTOR_METRICS]
    names += ["predictor/loss"] if Agent.EXECUTION in trained else []
    return (*names, *(["belief/loss"] if Agent.MAKER in trained else []))


def rollout_metrics(trajectory: Trajectory, scores: Scores, params: EnvParams, split: EnvSplit = WHOLE) -> Metrics:
    """Scalar metrics of one rollout, of all devices; money in reward units, information in nats.

    ``information/*_nats`` are what the leakage source and the maker's belief claim at the end of the episode. Both
    read the rollout before they are fitted to it, so both bound I(z; F) from below.
    """
    output, belief, terms, reward = trajectory.output, trajectory.belief, scores.terms, scores.reward
    position = trajectory.direction * output.inventory[:, -1, 0]
    counters = trajectory.final.book.counters
    prior = params.informed_probability
    of_informed = {  # [E, T] or [E]; sums over steps, means over the episodes of z = 1
        "execution/reward": reward[..., Agent.EXECUTION],
        "execution/shortfall": terms.shortfall,
        "execution/completion": position / params.parent_lots,
        "execution/leakage": scores.leakage,
        "execution/predictability": scores.predictability,
    }
    of_all = {  # the same over all episodes
        "maker/reward": reward[..., Agent.MAKER],
        "maker/pnl": terms.maker_pnl,
        "maker/adverse_selection": terms.adverse_selection,
        "arbitrageur/reward": reward[..., Agent.ARBITRAGEUR],
        "arbitrageur/pnl": terms.arbitrageur_pnl,
        "arbitrageur/snipe_lots": output.snipe_lots,
        "belief/final_accuracy": (belief[:, -1] > prior) == (trajectory.z == 1),
        "market/traded_lots": output.traded_lots,
        "market/refused": counters.refused,
        "market/evicted": counters.evicted,
        "market/noise_cut": trajectory.final.noise_cut,
    }
    horizon = belief.shape[1]
    of_steps = {  # means over steps and episodes
        "maker/quoted_spread_ticks": (output.quotes.price[..., 1] - output.quotes.price[..., 0]) / horizon,
        "belief/mean": belief / horizon,
        "market/spread_ticks": output.tape.spread_ticks / horizon,
    }
    of_episodes = _over_steps(of_informed | of_all | of_steps)
    informed = trajectory.z.astype(jnp.float32)[:, None]
    weights = jnp.where(
        jnp.array([[name in of_informed for name in of_episodes]]),
        informed / jnp.maximum(split.sum(jnp.sum(informed)), 1.0),
        1.0 / (split.n * informed.size),
    )
    posteriors = jnp.stack([jnp.exp(scores.log_posterior[:, -1]), belief[:, -1]], axis=-1)
    claims = barber_agakov(split.everyones(posteriors), split.everyones(trajectory.z), prior)
    return Metrics(split.sum(jnp.sum(weights * of_episodes.columns, axis=0)), of_episodes.names) | Metrics(
        claims, ("information/source_nats", "information/belief_nats")
    )


def _over_steps(named: dict[str, Array]) -> Metrics:
    """Sums over steps of the arrays [E, T], all at once, together with the arrays [E]."""
    stepwise = Metrics.of({name: x for name, x in named.items() if x.ndim == 2})
    totals = Metrics(jnp.sum(stepwise.columns, axis=1), stepwise.names)
    return totals | Metrics.of({name: x for name, x in named.items() if x.ndim == 1})
