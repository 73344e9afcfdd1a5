"""The update, training as a scan of it, and the compiled programs of a run."""

import functools
import operator
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from amarl_jax.learn.finite import finite_networks
from amarl_jax.learn.game import Game
from amarl_jax.learn.metrics import Metrics
from amarl_jax.learn.phases import learned_metric_names, metrics_measured, play_and_learn
from amarl_jax.learn.setup import Setup, annealed
from amarl_jax.learn.state import TrainState, init_state
from amarl_jax.market.noise import with_size_law
from amarl_jax.market.rewards import RewardWeights
from amarl_jax.types import Array


def update(state: TrainState, setup: Setup) -> tuple[TrainState, Metrics]:
    """Make one pass of the alternating scheme: phase A, then phase B.

    Args:
        state: the learner.
        setup: what is trained with; any leaf may differ from lane to lane of a sweep.

    Returns:
        The learner after the update and scalar metrics by name; phase names lead their names, and ``objective`` is
        the execution agent's, by which the best learner is chosen.
    """
    game, setup = setup.game, annealed(setup, state.update)
    setup = setup.replace(params=with_size_law(setup.params, game.market_spec.max_order_size))
    schedule = [index for index, agents in enumerate(game.phases()) for _ in range(game.episodes_per_phase(agents))]

    def body(carry: TrainState, phase: Array) -> tuple[TrainState, Metrics]:
        return play_and_learn(carry, phase, setup)

    state, rows = jax.lax.scan(body, state, jnp.array(schedule, jnp.int32))
    metrics = _average_by_phase(rows, schedule, game)
    found = {"objective": objective(metrics, game.phase_names()[-1], setup.weights)}
    state = state.replace(update=state.update + 1)
    return state, metrics | Metrics.of(found | finite_networks(state))


def objective(metrics: Mapping[str, Array], phase: str, weights: RewardWeights) -> Array:
    """``E[-IS | z = 1] - lambda I`` of the rollouts of one phase, in reward units.

    Not the return, which depends on what the leakage source believes at the time. The last phase of an alternating
    update plays the execution policy that is saved after it. I is the larger of two lower bounds, the claims of the
    leakage source and of the belief on episodes neither was fitted to, and at least 0; a detector that lags the policy
    still flatters it.
    """
    claims = [metrics[f"{phase}/information/{name}_nats"] for name in ("source", "belief")]
    information = jnp.maximum(jnp.maximum(*claims), 0.0)
    return -metrics[f"{phase}/execution/shortfall"] - weights.leakage_weight * information


def _average_by_phase(rows: Metrics, schedule: list[int], game: Game) -> Metrics:
    """Means over each phase's rollouts, named ``phase/metric``, of what was measured in that phase."""
    means = []
    for index, (name, trained) in enumerate(zip(game.phase_names(), game.phases(), strict=True)):
        mine = slice(schedule.index(index), schedule.index(index) + schedule.count(index))
        measured = (set(rows) - set(learned_metric_names())) | set(metrics_measured(trained, game))
        mean = Metrics(jnp.mean(rows.columns[mine], axis=0), rows.names)
        means.append(mean.chosen(sorted(measured)).renamed(f"{name}/"))
    return functools.reduce(operator.or_, means)


@jax.jit
def begin(key: Array, setup: Setup) -> TrainState:
    """A fresh learner, compiled."""
    return init_state(key, setup)


@functools.partial(jax.jit, static_argnames=("n_updates",), donate_argnames=("state",))
def advance(state: TrainState, setup: Setup, n_updates: int) -> tuple[TrainState, Metrics]:
    """``n_updates`` updates as one scan, compiled; the state given is consumed. Metrics lead with [n_updates]."""
    return jax.lax.scan(lambda carry, _: update(carry, setup), state, None, length=n_updates)
