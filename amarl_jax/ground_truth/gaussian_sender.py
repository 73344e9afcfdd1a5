"""A Gaussian sender on the tape: its information and gradient in closed form, and the gradient that training gives.

Each of ``HORIZON`` steps carries one order, a signed number of lots, a standard normal in units of ``LOTS`` lots at
z = 0. At z = 1 the sender adds a drift to its mean, ``theta[0]`` in the first half and ``theta[1]`` in the second. So
the log-ratio of a prefix is ``sum m x - m^2 / 2``, the leverage is ``d = |m|``, and ``I(z; F)`` and its slope are those
of the binary-input Gaussian channel. Rounding to lots costs a share of 3e-4 of the information.

All estimates run through the functions that training calls: :func:`amarl_jax.learn.players.TransformerBelief` reads
the tape, :mod:`amarl_jax.learn.tape_readers` fits, :func:`amarl_jax.learn.scoring.score` scores, ``gae`` and
``clipped_surrogate`` make the gradient.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from amarl_jax.learn import tape_readers as sources
from amarl_jax.learn.losses import clipped_surrogate
from amarl_jax.learn.phases import play
from amarl_jax.learn.players import TransformerBelief
from amarl_jax.learn.returns import gae
from amarl_jax.learn.rollout import Trajectory, stratified_labels
from amarl_jax.learn.scoring import score
from amarl_jax.learn.setup import Setup
from amarl_jax.learn.state import TrainState
from amarl_jax.theory.gaussian_channel import Channel, information_slope
from amarl_jax.types import Array, Tape

HORIZON = 8  # steps
LOTS = 16.0  # one standard deviation of an order

LOOP = {"xla_backend_optimization_level": 1}  # thousands of steps: worth optimising where tests compile quickly


def means(theta: Array) -> Array:
    """Mean order of every step at z = 1, [T] standard deviations."""
    return jnp.repeat(theta, HORIZON // 2)


def exact_gradient(theta: np.ndarray, prior: float = 0.5) -> np.ndarray:
    """``dI / dtheta`` [2] nats: the slope of the channel at ``d = |m|`` times ``dd / dtheta = T theta / (2 d)``."""
    theta = np.asarray(theta, np.float64)
    leverage = np.sqrt(HORIZON / 2 * np.sum(theta**2))
    return float(information_slope(leverage, Channel(prior))) * HORIZON / 2 * theta / leverage


def exact_log_posterior(orders: Array, theta: Array, prior: Array | float = 0.5) -> Array:
    """Exact log P(z = 1 | x_<=t), [E, T], of orders [E, T] in standard deviations."""
    m = means(theta)[None, :]
    return jax.nn.log_sigmoid(jnp.cumsum(m * orders - 0.5 * m**2, axis=1) + jnp.log(prior / (1.0 - prior)))


def on_tape(orders: Array, n_rows: int) -> tuple[Tape, Array]:
    """Write orders [E, T] as tapes: one live row per step, all else empty; and the orders as rounded there."""
    lots = jnp.clip(jnp.round(LOTS * orders), -127, 127)
    row = jnp.pad(lots[..., None], ((0, 0), (0, 0), (0, n_rows - 1)))
    nothing, calm = jnp.zeros_like(row, jnp.int8), jnp.zeros(orders.shape, jnp.int16)
    tape = Tape(
        side=jnp.sign(row).astype(jnp.int8),
        price_ticks=nothing,
        size_lots=jnp.abs(row).astype(jnp.int8),
        marketable=nothing,
        time_256=nothing.astype(jnp.uint8),
        removals=jnp.zeros((*orders.shape, 2), jnp.int8),
        value_gap_16=calm,
        spread_ticks=calm,
    )
    return tape, lots / LOTS


def trajectories(key: Array, state: TrainState, theta: Array, z: Array, setup: Setup) -> tuple[Trajectory, Array]:
    """Draw episodes [E] of the sender as the learner would see them, and their orders [E, T]; no market behind them."""
    blank = jax.eval_shape(lambda k: play(k, state, setup, z.shape[0]), jax.random.key(0))
    blank = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), blank.replace(final=()))
    orders = jax.random.normal(key, (z.shape[0], HORIZON)) + z[:, None] * means(theta)[None, :]
    tape, orders = on_tape(orders, setup.game.market_spec.n_tape_rows)
    belief = TransformerBelief(state.belief.params, setup)

    def read(memory, inputs):
        step, t = inputs
        memory, posterior, hidden = belief.read(memory, step, t, setup.params)
        return memory, (posterior, hidden)

    time = jnp.arange(HORIZON)
    posterior, hidden = jax.vmap(lambda t: jax.lax.scan(read, belief.init(setup.params), (t, time))[1])(tape)
    output = blank.output.replace(tape=tape)
    return blank.replace(output=output, belief=posterior, hidden=hidden, z=z), orders


@functools.partial(jax.jit, static_argnames=("fitted",), compiler_options=LOOP)
def fit(
    state: TrainState,
    theta: Array,
    setup: Setup,
    fitted: tuple[str, ...],
    n_rollouts: Array | int,
) -> TrainState:
    """The learner after fitting each of ``fitted``, "mine" or "belief", in turn to ``n_rollouts`` of the frozen sender.

    Each is fitted as an update fits it, on fresh episodes every time; MINE reads the state of the belief as it stands.
    """

    def fit_one(state, name):
        key, key_labels, key_orders, key_fit = jax.random.split(state.key, 4)
        z = stratified_labels(key_labels, setup.game.learn.n_envs, setup.params.informed_probability)
        trajectory, _ = trajectories(key_orders, state, theta, z, setup)
        if name == "mine":
            state, _ = sources.fit_mine(key_fit, state, trajectory, setup)
        else:
            state, _ = sources.fit_belief(key_fit, state, trajectory.output.tape, z, setup)
        return state.replace(key=key)

    def rollout(_, state):
        for name in fitted:
            state = fit_one(state, name)
        return state.replace(update=state.update + 1)

    return jax.lax.fori_loop(0, n_rollouts, rollout, state)


@functools.partial(jax.jit, static_argnames=("n_episodes",))
def paid_gradients(key: Array, state: TrainState, theta: Array, setup: Setup, n_episodes: int) -> tuple[Array, Array]:
    """Minus the gradient of training's loss at theta for each of n fresh z = 1 episodes, [n, 2], in two versions.

    The first uses the leakage of the learned source, the second that of Bayes' belief on the same episodes.
    """
    z = jnp.ones(n_episodes, jnp.int32)
    trajectory, orders = trajectories(key, state, theta, z, setup)
    learned = score(state, trajectory, setup).leakage
    exact = exact_log_posterior(orders, theta, setup.params.informed_probability)
    bayes = score(state, trajectory, setup, exact).leakage
    return _per_episode_gradient(theta, orders, learned), _per_episode_gradient(theta, orders, bayes)


def _per_episode_gradient(theta: Array, orders: Array, leakage: Array) -> Array:
    """Policy gradient of each episode, [n, 2]; rewards to go, undiscounted, minus their mean over episodes."""
    value = jnp.mean(jnp.cumsum(leakage[:, ::-1], axis=1)[:, ::-1], axis=0)
    advantage = jax.vmap(lambda reward: gae(reward, value, 1.0, 1.0)[0])(leakage)

    def log_prob(at, row):
        return -0.5 * (row - means(at)) ** 2

    def objective(at, row, gain):
        return -HORIZON * clipped_surrogate(log_prob(at, row), log_prob(theta, row), gain, jnp.ones(HORIZON), 0.2)[0]

    return jax.vmap(jax.grad(objective), in_axes=(None, 0, 0))(theta, orders, advantage)
