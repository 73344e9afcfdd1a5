"""Schedules against their closed forms, camouflage and forced completion by hand, all baselines in one program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.market import observe
from amarl_jax.market.slot import decode_action
from amarl_jax.policies.almgren_chriss import AlmgrenChriss, remaining_share, urgency
from amarl_jax.policies.baselines import choice, make_baselines
from amarl_jax.policies.camouflage import Camouflage
from amarl_jax.policies.forced import ForcedCompletion
from amarl_jax.policies.mimic import Mimic
from amarl_jax.policies.twap import Twap
from amarl_jax.policies.vwap import Vwap, u_shaped_share
from tests.market.conftest import SPEC
from tests.policies.test_twap import lots_sent

MIMIC = Mimic(SPEC)


@pytest.fixture(scope="module")
def view(market, params):
    """What the execution agent sees at the start."""
    state = market.reset(jax.random.key(0), params, jnp.int32(1))
    return observe.views(state, jnp.float32(0.5), params, SPEC).execution


def cheapest_holdings(n_steps, parent, variance_weight, impact):
    """argmin of ``sum eta (x[k-1] - x[k])^2 + w x[k]^2``, x[0] = X, x[n] = 0: a tridiagonal linear system."""
    n = n_steps - 1
    matrix = np.diag(np.full(n, 2 * impact + variance_weight)) - impact * (np.eye(n, k=1) + np.eye(n, k=-1))
    held = np.linalg.solve(matrix, np.r_[impact * parent, np.zeros(n - 1)])
    return np.r_[parent, held, 0.0]


@pytest.mark.parametrize(
    ("risk_aversion", "volatility", "impact"), [(0.02, 1.5, 0.3), (1e-7, 1.0, 1.0), (4.0, 3.0, 0.1)]
)
def test_the_almgren_chriss_trajectory_is_the_cheapest(risk_aversion, volatility, impact):
    n_steps = 30
    k = urgency(risk_aversion, volatility, impact, n_steps)
    shares = remaining_share(jnp.arange(n_steps + 1) / n_steps, k)
    exact = cheapest_holdings(n_steps, 1.0, risk_aversion * volatility**2, impact)
    np.testing.assert_allclose(np.asarray(shares), exact, atol=2e-4)  # FLATTEST and float32


def test_the_almgren_chriss_trajectory_is_a_ratio_of_sinh():
    t = np.linspace(0.0, 1.0, 9)
    for k in (0.1, 1.0, 5.0):
        np.testing.assert_allclose(remaining_share(jnp.asarray(t), k), np.sinh(k * (1 - t)) / np.sinh(k), atol=1e-6)
    assert np.isfinite(np.asarray(remaining_share(jnp.asarray(t), 500.0))).all()


def test_the_u_shaped_profile_is_a_law_and_a_parabola():
    x = np.linspace(0.0, 1.0, 401)
    share = np.asarray(u_shaped_share(jnp.asarray(x), 0.75), np.float64)
    assert share[0] == pytest.approx(0.0, abs=1e-7)
    assert share[-1] == pytest.approx(1.0)
    density = np.diff(share) / np.diff(x)
    middle = (x[1:] + x[:-1]) / 2
    np.testing.assert_allclose(density, 0.25 + 9.0 * (middle - 0.5) ** 2, atol=2e-4)  # float32 differences


@pytest.mark.parametrize(
    "policy", [Vwap(SPEC), AlmgrenChriss(SPEC, 3.0), Vwap(SPEC, 0.75, 3), AlmgrenChriss(SPEC, 3.0, 4)]
)
def test_a_schedule_sends_exactly_the_parent_order_along_its_curve(policy, view, params):
    sent, lots = lots_sent(policy, view, params), int(params.parent_lots)
    assert sum(sent) == lots
    elapsed = np.arange(1, SPEC.horizon + 1) / SPEC.horizon
    if isinstance(policy, Vwap):
        due = 0.25 * elapsed + 0.75 * (4 * (elapsed - 0.5) ** 3 + 0.5)
    else:
        due = 1 - np.sinh(3.0 * (1 - elapsed)) / np.sinh(3.0)
    ahead = np.cumsum(sent) - lots * due
    assert (ahead[:-1] > -policy.clip_lots).all()
    assert (ahead < 1.0).all(), "rounded up, never more"
    assert min(x for x in sent[:-1] if x) >= policy.clip_lots


def actions(policy, view, params, n):
    """Actions [n, 3] on one view with n keys."""
    keys = jax.random.split(jax.random.key(3), n)
    return np.asarray(jax.vmap(lambda key: policy.act(key, policy.init(params), view, params)[1].action)(keys))


def test_camouflage_is_the_schedule_the_mimic_or_a_mixture_at_its_rate(view, params):
    late = view.replace(public=view.public.replace(time_left=jnp.float32(0.5)))
    schedule, n = Twap(SPEC), 4000
    plain, hidden = actions(schedule, late, params, n), actions(MIMIC, late, params, n)
    np.testing.assert_array_equal(actions(Camouflage(schedule, MIMIC, 0.0), late, params, n), plain)
    np.testing.assert_array_equal(actions(Camouflage(schedule, MIMIC, 1.0), late, params, n), hidden)
    mixed = actions(Camouflage(schedule, MIMIC, 0.3), late, params, n)
    scheduled = (mixed == plain).all(axis=1)
    np.testing.assert_array_equal(mixed[~scheduled], hidden[~scheduled])
    assert scheduled.mean() == pytest.approx(0.7, abs=5 * np.sqrt(0.3 * 0.7 / n))


@pytest.mark.parametrize(
    ("step", "remaining", "lots"),
    [(0, 12, None), (20, 12, None), (21, 12, 5), (21, 8, None), (23, 4, 4), (23, 12, 12), (22, 20, 15), (23, 0, None)],
)
def test_completion_is_forced_as_late_as_clips_of_five_allow(step, remaining, lots, view, params):
    """The day has 24 steps: at step 21 three are left, of which the last two carry ten lots."""
    policy = ForcedCompletion(Twap(SPEC, 10_000, 100), SPEC, 5)  # a base that never trades within the day
    seen = view.replace(
        public=view.public.replace(time_left=jnp.float32(1 - step / SPEC.horizon)), remaining=jnp.int32(remaining)
    )
    action = policy.act(jax.random.key(0), (), seen, params)[1].action
    order = decode_action(action, jnp.int32(1), SPEC)
    assert bool(order.acts) == (lots is not None)
    if lots is not None:
        assert (int(order.lots), int(order.side), bool(order.is_limit)) == (lots, 1, False)


def test_the_one_sided_mimic_differs_from_the_mimic_in_its_side_alone(view, params):
    seen = view.replace(direction=jnp.int32(-1))
    free, along = actions(MIMIC, seen, params, 2000), actions(Mimic(SPEC, one_sided=True), seen, params, 2000)
    assert (free[:, 0] < 0).any()
    np.testing.assert_array_equal(along, np.c_[np.abs(free[:, 0]), free[:, 1:]])


def test_each_baseline_is_chosen_by_its_place(view, params):
    """One program with a traced number plays what each policy plays by itself."""
    baselines = make_baselines(SPEC)
    assert {"twap", "vwap", "twap_camouflaged", "vwap_camouflaged", "mimic", "mimic_forced", "almgren_chriss"} <= set(
        baselines
    )
    middle = view.replace(public=view.public.replace(time_left=jnp.float32(0.5), news_gap=jnp.float32(4.0)))

    @jax.jit
    def act(index):
        chosen = choice(baselines, index)
        memory, decision = chosen.act(jax.random.key(1), chosen.init(params), middle, params)
        return memory, decision.action

    played = set()
    for i, policy in enumerate(baselines.values()):
        _, alone = policy.act(jax.random.key(1), policy.init(params), middle, params)
        memory, action = act(jnp.int32(i))
        np.testing.assert_allclose(np.asarray(action), np.asarray(alone.action), rtol=1e-6)
        assert jax.tree.structure(memory) == jax.tree.structure(choice(baselines, 0).init(params))
        played.add(tuple(np.asarray(action).tolist()))
    assert len(played) >= 3, "lots that differ, and abstention"
