"""Conformance checks of extensions, for a user's own tests: one line for a policy, noise law, learner or estimator.

    from amarl_jax.testing import check_noise_law, check_policy

    def test_my_policy():
        check_policy(MyPolicy(), Agent.EXECUTION)

Each check raises ``AssertionError`` with one line that says what does not hold. They compile small programs, no market,
and take seconds. They check what the core relies on, not how good an extension is.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from amarl_jax.information.estimators import MIEstimator
from amarl_jax.learn.game import Learnable
from amarl_jax.market.noise import NoiseLaw, NoiseOrders, size_distribution
from amarl_jax.market.observe import ArbitrageurView, ExecutionView, MakerView, PublicView
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.market.slot import SlotDecision, SlotLaw, decode_action
from amarl_jax.market.state import TapeEvents
from amarl_jax.policies.protocol import Decision, Policy
from amarl_jax.trees import as_arrays
from amarl_jax.types import N_AGENTS, Agent, Array, PyTree

__all__ = ["check_estimator", "check_learnable", "check_noise_law", "check_policy"]

SMALL = MarketSpec(horizon=16, n_levels=4, n_tape_events=6)
_SIGMAS = 5.0  # standard errors by which a frequency may miss its probability
_N_DRAWS = 4096
_ACTIONS: dict[Agent, tuple[int, ...]] = {Agent.EXECUTION: (3,), Agent.MAKER: (4,), Agent.ARBITRAGEUR: ()}


def check_policy(
    policy: Policy, agent: Agent = Agent.EXECUTION, spec: MarketSpec = SMALL, params: EnvParams | None = None
) -> None:
    """Check that a policy may sit in an agent's seat.

    It is traced, so ``jit``, ``vmap`` and ``scan`` take it; its carry keeps structure, shapes and types; its action is
    float, of the seat's shape, finite and within the seat's range; the same keys and views give the same actions,
    however often it is traced. One with a method ``law`` draws as that law says and never changes its carry; one
    with ``reads_private = False`` does not read the private number.

    Args:
        policy: the policy.
        agent: whose seat.
        spec: market sizes, those that the policy was made with.
        params: market constants; default those of ``EnvParams()``.
    """
    params = as_arrays(EnvParams() if params is None else params)
    views = _views(agent, spec, params)
    first = _traced("init", policy.init, params)
    _check_signature(policy, agent, first, _at(views, 0), params)
    program = [_program(lambda carry: _play(policy, carry, views, params), first) for _ in range(2)]
    _require(program[0] == program[1], "act is not pure: traced again it is another program")
    carry, decisions = jax.jit(lambda carry: _play(policy, carry, views, params))(first)
    _check_range(agent, np.asarray(decisions.action), spec, params)
    together = jax.jit(jax.vmap(lambda key, view: policy.act(key, first, view, params)[1].action))
    at_first = together(_keys(spec.horizon), views)[0]
    _require(np.allclose(at_first, decisions.action[0], atol=1e-4), "act under vmap differs from act of one view")
    if agent == Agent.EXECUTION:
        if not getattr(policy, "reads_private", True):
            _check_reads_no_private(policy, first, views, params)
        if hasattr(policy, "law"):
            _require(_equal(carry, first), "a policy with a law must leave its carry what init made it")
            _check_law(policy, first, views, spec, params)


def check_noise_law(law: NoiseLaw, spec: MarketSpec = SMALL, params: EnvParams | None = None) -> None:
    """Check that the market can draw noise orders, and the slot at ``z = 0``, from a law.

    It can be hashed and traced; orders have the shape of the numbers they are drawn from and are drawn one by one;
    sides are +1 or -1, lots from 1 to ``max_order_size``, offsets within the spec's range; the same numbers give the
    same orders, however often it is traced. One with a method ``marks`` draws with those probabilities, each mark
    independently of the others, except that sizes depend on kind and offset where ``marks`` gives them by place.
    """
    params = as_arrays(EnvParams() if params is None else params)
    hash(law)
    size_cdf, p_buy = size_distribution(params, spec.max_order_size), jnp.float32(0.7)
    uniform = jax.random.uniform(jax.random.key(1), (4, _N_DRAWS), jnp.float32)

    def draw(numbers: Array) -> Any:
        return jax.jit(lambda x: law(x, p_buy, size_cdf, params, spec))(numbers)

    orders = _traced("the law", draw, uniform)
    for name in ("side", "lots", "offset_ticks", "is_limit"):
        mark, kind = getattr(orders, name), jnp.bool_ if name == "is_limit" else jnp.int32
        _require(mark.shape == (_N_DRAWS,), f"{name} has the shape {mark.shape} for numbers of (4, {_N_DRAWS})")
        _require(mark.dtype == kind, f"{name} is {mark.dtype}, must be {jnp.dtype(kind)}")
    side, lots, offset = (np.asarray(x) for x in (orders.side, orders.lots, orders.offset_ticks))
    _require(bool(np.isin(side, (-1, 1)).all()), "a side is neither +1 nor -1")
    _require(lots.min() >= 1 and lots.max() <= spec.max_order_size, f"lots leave 1 .. {spec.max_order_size}")
    inside = spec.offset_min_ticks <= offset.min() and offset.max() <= spec.offset_max_ticks
    _require(bool(inside), f"offsets leave {spec.offset_min_ticks} .. {spec.offset_max_ticks} ticks")
    program = [_program(lambda x: law(x, p_buy, size_cdf, params, spec), uniform) for _ in range(2)]
    _require(program[0] == program[1], "the law is not pure: traced again it is another program")
    _require(_equal(_at(orders, 3), draw(uniform[:, 3])), "an order depends on the orders drawn beside it")
    if hasattr(law, "marks"):
        marks = jax.tree.map(np.asarray, law.marks(p_buy, size_cdf, params, spec))
        _check_marks(marks, spec)
        _check_noise_frequencies(marks, jax.tree.map(np.asarray, orders), spec)


def check_learnable(
    game: Learnable,
    observations: tuple[int | tuple[PyTree, ...], ...],
    global_size: int,
    evidence: tuple[PyTree, ...],
    agents: tuple[Agent, ...],
) -> None:
    """Check that PPO and the leakage source can train a game's networks.

    It can be hashed. Each agent's network gives a head whose draws have a finite log-density and entropy, with
    gradients that are finite and not all 0; the critic values every agent and depends on the state; the
    statistics network scores both labels; the estimator passes :func:`check_estimator`.

    Args:
        game: the game.
        observations: features of each agent's observation, or all inputs of its network, in the order of ``Agent``.
        global_size: features of the critic's state.
        evidence: what the statistics network reads of an episode, or of a step.
        agents: those that train.
    """
    hash(game)
    _require(game.learn.n_envs >= 2, f"learn.n_envs = {game.learn.n_envs}: both classes need an environment")
    for agent in agents:
        _check_actor(game, agent, observations[agent])

    @jax.jit
    def judge(key: Array) -> tuple[Array, Array]:
        key_seen, key_critic, key_statistics = jax.random.split(key, 3)
        seen = jax.random.normal(key_seen, (2, global_size))
        actions = (jnp.zeros(1, jnp.float32),) * N_AGENTS
        critic = game.critic.init(key_critic, seen[0], actions)
        statistics = game.statistics.init(key_statistics, *evidence)
        values = jax.vmap(lambda row: game.critic.apply(critic, row, actions))(seen)
        return values, game.statistics.apply(statistics, *evidence)

    values, scores = judge(jax.random.key(3))
    _require(values.shape == (2, N_AGENTS), f"the critic gives {values.shape[1:]} values, must be ({N_AGENTS},)")
    _require(bool(jnp.isfinite(values).all()), "the critic's values are not finite")
    _require(not _equal(values[0], values[1]), "the critic does not read the state")
    _require(
        scores.shape[-1:] == (2,), f"the statistics network gives {scores.shape}, must end with 2: a score a label"
    )
    check_estimator(game.estimator)


def check_estimator(estimator: MIEstimator, tolerance: float = 0.1) -> None:
    """Check that an estimator of mutual information trains a critic and reads it.

    It can be hashed; state keeps its structure; a loss is one number, a bound one for each position of S; constant
    scores claim nothing; the order of the episodes does not matter. A table of scores, trained by its loss on a binary
    channel whose frequencies are exact, claims the channel's information, and nothing where there is none.

    Args:
        estimator: the estimator.
        tolerance: share of the information by which the trained claim may miss it.
    """
    hash(estimator)
    _require(isinstance(estimator.name, str) and bool(estimator.name), "name must be a string that is not empty")
    labels, scores = jnp.arange(40) % 2, jax.random.normal(jax.random.key(4), (40, 3, 2))
    state = estimator.init((3,))

    @jax.jit
    def read(s: Array, z: Array, carry: Any) -> tuple[Array, ...]:
        bounds = (estimator.bound(s, z, 0.5), estimator.bound(s[::-1], z[::-1], 0.5), estimator.bound(0 * s, z, 0.5))
        return (*estimator.loss(s, z, 0.5, carry, 0.9), *bounds)

    loss, after, bound, backwards, nothing = read(scores, labels, state)
    _require(loss.shape == (), f"the loss has the shape {loss.shape}, must be one number")
    _require(bound.shape == (3,), f"the bound of scores (40, 3, 2) has the shape {bound.shape}, must be (3,)")
    _require(bool(jnp.isfinite(loss) & jnp.isfinite(bound).all()), "loss or bound is not finite")
    _require(_shapes(after) == _shapes(state), "loss changes the structure of the state")
    _require(float(np.max(nothing)) < 1e-5, "constant scores claim information")
    _require(np.allclose(bound, backwards, atol=1e-4), "the bound depends on the order of the episodes")
    for right, claimed in zip((0.5, 0.8), _claims(estimator, (0.5, 0.8)), strict=True):
        exact = float(np.log(2) + right * np.log(right) + (1 - right) * np.log(1 - right))
        said = f"trained on a binary channel of {exact:.3f} nats it claims {claimed:.3f}"
        _require(abs(claimed - exact) <= max(tolerance * exact, 0.01), said)


def _claims(estimator: MIEstimator, right: tuple[float, ...]) -> list[float]:
    """Bounds, nats, of trained tables of scores [signal, label], by the probability that the signal is the label."""
    labels = jnp.arange(200) % 2
    optimiser = optax.adam(0.05)

    def claim(signal: Array) -> Array:
        def step(carry: PyTree, _: None) -> tuple[PyTree, None]:
            table, moments, state = carry
            gradient, state = jax.grad(lambda t: estimator.loss(t[signal], labels, 0.5, state, 0.5), has_aux=True)(
                table
            )
            updates, moments = optimiser.update(gradient, moments)
            return (optax.apply_updates(table, updates), moments, state), None

        table = jnp.float32([[0.01, -0.01], [-0.01, 0.02]])
        start: PyTree = (table, optimiser.init(table), estimator.init(()))
        (table, *_), _ = jax.lax.scan(step, start, length=500)
        return estimator.bound(table[signal], labels, 0.5)

    wrong = [jnp.arange(200) // 2 < round(100 * (1.0 - probability)) for probability in right]
    signals = jnp.stack([jnp.where(flipped, 1 - labels, labels) for flipped in wrong])
    return [float(x) for x in jax.jit(jax.vmap(claim))(signals)]


def _check_actor(game: Learnable, agent: Agent, told: int | tuple[PyTree, ...]) -> None:
    """Check one agent's network: a head with draws, densities and gradients."""
    who, network = agent.name.lower(), game.actor(agent)

    @jax.jit
    def act(key: Array) -> tuple[Array, PyTree, Array, PyTree, PyTree]:
        key_seen, key_network, key_draw = jax.random.split(key, 3)
        seen = (jax.random.normal(key_seen, (told,)),) if isinstance(told, int) else told
        parameters = network.init(key_network, *seen)
        head: Any = network.apply(parameters, *seen)
        latents = head.sample(key_draw)
        value, gradient = jax.value_and_grad(lambda p: network.apply(p, *seen).log_prob(latents))(parameters)
        return value, gradient, head.entropy(), latents, head.mode()

    value, gradient, entropy, latents, mode = act(jax.random.key(2))
    _require(value.shape == (), f"{who}: log_prob has the shape {value.shape}, must be one number")
    _require(bool(jnp.isfinite(value)), f"{who}: log_prob of its own draw is not finite")
    _require(bool(jnp.isfinite(entropy)), f"{who}: the entropy is not finite")
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(gradient)]
    _require(all(np.isfinite(leaf).all() for leaf in leaves), f"{who}: a gradient of log_prob is not finite")
    _require(any(leaf.any() for leaf in leaves), f"{who}: log_prob does not depend on the parameters")
    _require(_shapes(mode) == _shapes(latents), f"{who}: mode and sample differ in shape")


def _check_signature(policy: Policy, agent: Agent, carry: PyTree, view: PyTree, params: EnvParams) -> None:
    """Check shapes and types of what ``act`` returns."""
    after, decision = _traced("act", lambda c, v: jax.eval_shape(policy.act, _keys(1)[0], c, v, params), carry, view)
    _require(isinstance(decision, Decision), f"act gives a {type(decision).__name__}, must be a carry and a Decision")
    action, shape = decision.action, _ACTIONS[agent]
    _require(action.shape == shape, f"the action has the shape {action.shape}, must be {shape} of the {agent.name}")
    _require(jnp.issubdtype(action.dtype, jnp.floating), f"the action is {action.dtype}, must be float")
    _require(decision.log_prob.shape == (), f"log_prob has the shape {decision.log_prob.shape}, must be one number")
    _require(_shapes(after) == _shapes(carry), "act changes the structure, a shape or a type of its carry")


def _check_range(agent: Agent, action: np.ndarray, spec: MarketSpec, params: EnvParams) -> None:
    """Check that actions [T, ...] are within the seat's range."""
    _require(bool(np.isfinite(action).all()), "an action is not finite")
    spread = float(params.max_spread_ticks)
    low, high = {
        Agent.EXECUTION: ([-1.0, spec.offset_min_ticks, -np.inf], [1.0, spec.offset_max_ticks, np.inf]),
        Agent.MAKER: ([0.0, 0.0, 0.0, 0.0], [spread, spread, 1.0, 1.0]),
        Agent.ARBITRAGEUR: (-1.0, 1.0),
    }[agent]
    outside = (action < np.asarray(low) - 1e-6) | (action > np.asarray(high) + 1e-6)
    _require(not outside.any(), f"an action leaves the range of the {agent.name}, {low} to {high}")


def _check_reads_no_private(policy: Policy, first: PyTree, views: ExecutionView, params: EnvParams) -> None:
    other = dataclasses.replace(views, private=views.private + 1.0)
    play = jax.jit(lambda seen: _play(policy, first, seen, params)[1].action)
    acted = [play(seen) for seen in (views, other)]
    _require(_equal(*acted), "reads_private is False, but the action depends on the private number")


def _check_law(policy: Any, carry: PyTree, views: ExecutionView, spec: MarketSpec, params: EnvParams) -> None:
    """Check frequencies of decisions against the law, at three views."""

    def law_and_draws(view: ExecutionView) -> tuple[SlotLaw, SlotDecision]:
        def draw(key: Array) -> SlotDecision:
            return decode_action(policy.act(key, carry, view, params)[1].action, view.direction, spec)

        return policy.law(carry, view, params), jax.vmap(draw)(_keys(_N_DRAWS))

    compiled = jax.jit(law_and_draws)
    for i in (0, spec.horizon // 2, spec.horizon - 1):
        law, drawn = jax.tree.map(np.asarray, compiled(_at(views, i)))
        _check_draws(law, drawn, spec)


def _check_draws(law: SlotLaw, drawn: SlotDecision, spec: MarketSpec) -> None:
    """Check decisions [n] against the law that they were drawn from."""
    gate = np.asarray(law.gate, np.float64)
    _require(gate.ndim == 1, f"the law's gate has the shape {gate.shape}, must be [ways to act]")
    _require(bool((gate >= 0).all()) and gate.sum() <= 1 + 1e-5, "the law's gate is no probability")
    for way in range(len(gate)):
        _check_marks(_at(law.marks, way), spec)
    acts, is_limit = drawn.acts, drawn.acts & drawn.is_limit
    marks = jax.tree.map(lambda x: np.asarray(x, np.float64), law.marks)
    said: dict[str, tuple[Any, Any]] = {
        "acting": (acts, gate.sum()),
        "buying": (acts & (drawn.side > 0), gate @ marks.buy),
    }
    said |= {"a limit order": (is_limit, gate @ marks.limit)}
    cells = np.sum([gate[way] * _cells(_at(marks, way)) for way in range(len(gate))], axis=0)
    for k, probability in enumerate(cells.sum(0)):
        said[f"{k + 1} lots"] = (acts & (drawn.lots == k + 1), probability)
    for k, probability in enumerate(cells[1:].sum(1), start=spec.offset_min_ticks):
        said[f"a limit order at offset {k}"] = (is_limit & (drawn.offset_ticks == k), probability)
    place = np.where(acts, np.where(is_limit, 1 + drawn.offset_ticks - spec.offset_min_ticks, 0), -1)
    said |= _by_cell(place, np.asarray(drawn.lots), cells, spec)
    for what, (seen, probability) in said.items():
        _check_frequency(what, int(np.sum(seen)), float(probability), _N_DRAWS)


def _check_marks(marks: Any, spec: MarketSpec) -> None:
    """Check probabilities of one order's marks."""
    sizes, by_place = (spec.max_order_size,), (1 + spec.n_offsets, spec.max_order_size)
    allowed: dict[str, list[tuple[int, ...]]] = {"buy": [()], "limit": [()], "offset": [(spec.n_offsets,)]}
    for name, shapes in (allowed | {"lots": [sizes, by_place]}).items():
        probability = np.asarray(getattr(marks, name), np.float64)
        must_be = " or ".join(map(str, shapes))
        _require(probability.shape in shapes, f"marks.{name} has the shape {probability.shape}, must be {must_be}")
        _require(bool((probability >= -1e-6).all() and (probability <= 1 + 1e-6).all()), f"marks.{name} leaves [0, 1]")
        for total in np.atleast_1d(probability.sum(-1)) if probability.ndim else ():
            _require(abs(total - 1.0) < 1e-3, f"marks.{name} adds up to {total:.4f}, must be 1")


def _cells(marks: Any) -> np.ndarray:
    """Probabilities of an order's place (market, then limit offsets) and lots, [1 + n_offsets, max_order_size]."""
    limit, offset, lots = (np.asarray(x, np.float64) for x in (marks.limit, marks.offset, marks.lots))
    return np.append(1.0 - limit, limit * offset)[:, None] * lots


def _check_noise_frequencies(marks: Any, orders: NoiseOrders, spec: MarketSpec) -> None:
    """Check noise orders [n] against the probabilities that they are drawn with."""
    side, lots, is_limit, offset = (
        np.asarray(x) for x in (orders.side, orders.lots, orders.is_limit, orders.offset_ticks - spec.offset_min_ticks)
    )
    said: dict[str, tuple[Any, Any]] = {"buy": (side > 0, marks.buy), "limit": (is_limit, marks.limit)}
    if marks.lots.ndim == 1:
        said |= {f"{k + 1} lots": (lots == k + 1, p) for k, p in enumerate(marks.lots)}
        said |= {f"offset {k + spec.offset_min_ticks}": (offset == k, p) for k, p in enumerate(marks.offset)}
    else:
        said |= _by_cell(np.where(is_limit, 1 + offset, 0), lots, _cells(marks), spec)
    for name, (seen, probability) in said.items():
        _check_frequency(name, int(seen.sum()), float(probability), _N_DRAWS)
    others = {"lots": lots, "offset": offset, "type": is_limit}
    if marks.lots.ndim == 1:
        _check_independent({"side": side, **others})
    for name, mark in others.items():
        _check_independent({"side": side, name: mark})


def _by_cell(place: np.ndarray, lots: np.ndarray, cells: np.ndarray, spec: MarketSpec) -> dict[str, tuple[Any, Any]]:
    """Flags [n] of the orders of each place and size, by description, and the cell's probability."""
    names = ["a market order", *(f"a limit order at offset {spec.offset_min_ticks + k}" for k in range(len(cells) - 1))]
    return {
        f"{names[p]} of {k + 1} lots": ((place == p) & (lots == k + 1), cells[p, k]) for p, k in np.ndindex(cells.shape)
    }


def _check_frequency(what: str, seen: int, probability: float, n: int) -> None:
    allowed = _SIGMAS * np.sqrt(n * max(probability * (1.0 - probability), 0.0)) + (3.0 if probability > 0 else 0.0)
    said = f"the law gives {what} probability {probability:.4f}, seen {seen} times in {n} draws"
    _require(abs(seen - n * probability) <= allowed, said)


def _check_independent(marks: dict[str, np.ndarray]) -> None:
    names = [name for name, x in marks.items() if np.std(x) > 0]
    correlation = np.corrcoef([marks[name].astype(float) for name in names]) if len(names) > 1 else np.eye(1)
    for i in range(len(names)):
        for j in range(i):
            said = f"marks depend on each other: {names[j]} and {names[i]} correlate at {correlation[i, j]:.2f}"
            _require(abs(correlation[i, j]) <= _SIGMAS / np.sqrt(_N_DRAWS), said)


def _play(policy: Policy, first: PyTree, views: PyTree, params: EnvParams) -> tuple[PyTree, Decision]:
    """Carry at the end and decisions [T]."""

    def step(carry: PyTree, inputs: tuple[Array, PyTree]) -> tuple[PyTree, Decision]:
        key, view = inputs
        return policy.act(key, carry, view, params)

    keys = _keys(jax.tree.leaves(views)[0].shape[0])
    return jax.lax.scan(step, first, (keys, views))


def _program(function: Callable[..., Any], *inputs: Any) -> tuple[str, list[bytes]]:
    """Text and constants of the program that a function is traced to."""
    jaxpr = jax.make_jaxpr(function)(*inputs)
    arrays = [c for c in jaxpr.consts if not jax.dtypes.issubdtype(c.dtype, jax.dtypes.prng_key)]
    return str(jaxpr), [np.asarray(c).tobytes() for c in arrays]


def _keys(n: int) -> Array:
    """The same n keys at every call."""
    return jax.random.split(jax.random.key(0), n)


def _views(agent: Agent, spec: MarketSpec, params: EnvParams) -> Any:
    """Views [T] of an invented day in which every field is in use."""
    rng, n = np.random.default_rng(0), spec.horizon

    def real(scale: float, *shape: int) -> Array:
        return jnp.asarray(rng.normal(0.0, scale, (n, *shape)), jnp.float32)

    def whole(low: int, high: int, kind: Any, *shape: int) -> Array:
        return jnp.asarray(rng.integers(low, high + 1, (n, *shape)), kind)

    public = PublicView(
        depth=real(0.5, 4 * spec.n_levels),
        time_left=1.0 - jnp.arange(n, dtype=jnp.int32) / spec.horizon,
        mid=jnp.round(real(3.0)),
        news_gap=real(2.0),
        spread=whole(1, 4, jnp.float32),
    )
    if agent == Agent.MAKER:
        h = spec.n_tape_events
        recent = TapeEvents(
            side=whole(-1, 1, jnp.int8, h),
            price_ticks=whole(-5, 5, jnp.int8, h),
            size_lots=whole(0, 9, jnp.int8, h),
            marketable=whole(0, 1, jnp.int8, h),
            time_256=whole(0, 255, jnp.uint8, h),
        )
        return MakerView(public, recent, whole(-20, 20, jnp.int32), jnp.asarray(rng.random(n), jnp.float32))
    if agent == Agent.ARBITRAGEUR:
        return ArbitrageurView(public, real(3.0), jnp.round(real(2.0)), whole(-10, 10, jnp.int32))
    total = int(params.parent_lots)
    remaining = jnp.asarray(np.linspace(total, total // 3, n).round(), jnp.int32)
    child = whole(0, 3, jnp.int32)
    return ExecutionView(
        public=public,
        direction=jnp.full(n, -1, jnp.int32),
        remaining=remaining,
        completion=1.0 - remaining / jnp.float32(total),
        volatility=jnp.abs(real(1.0)),
        child_lots=child,
        child_along=jnp.sign(child).astype(jnp.int32),
        child_offset=jnp.where(child > 0, 1.0, 0.0),
        private=real(1.0),
    )


def _traced(what: str, call: Callable[..., Any], *inputs: Any) -> Any:
    """Result of the call; an error of tracing fails the check."""
    try:
        return call(*inputs)
    except (TypeError, jax.errors.JAXTypeError, jax.errors.JAXIndexError) as error:
        reason = " ".join(str(error).split())[:200]
        raise AssertionError(f"{what} cannot be traced ({type(error).__name__}: {reason})") from error


def _require(holds: bool | np.bool_, said: str) -> None:
    if not holds:
        raise AssertionError(said)


def _at(tree: PyTree, i: int) -> Any:
    return jax.tree.map(lambda x: x[i], tree)


def _shapes(tree: PyTree) -> tuple[Any, list[tuple[tuple[int, ...], Any]]]:
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves]


def _equal(a: PyTree, b: PyTree) -> bool:
    same = jax.tree.map(lambda x, y: np.array_equal(np.asarray(x), np.asarray(y)), a, b)
    return all(jax.tree.leaves(same))
