"""The family of bursts: its corners are policies of their own name, and every plan draws as its law says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.market import observe
from amarl_jax.market.params import EnvParams
from amarl_jax.market.table_noise import TableNoise, table_of
from amarl_jax.policies.bursts import AXES, BurstPlan, Bursts, place_of, plan_at
from amarl_jax.policies.mimic import Mimic
from amarl_jax.policies.twap import Twap
from amarl_jax.testing import SMALL, check_policy
from tests.market.conftest import SPEC

AT_ONCE = {"start": 0, "window": 1, "part": 1, "clip_lots": 1, "cover": 0, "along": 0, "haste": 0, "rate": 1, "loud": 1}


def plan(**changed):
    return BurstPlan(**{name: jnp.float32(value) for name, value in (AT_ONCE | changed).items()})


@pytest.fixture(scope="module")
def view(market, params):
    return observe.views(
        market.reset(jax.random.key(0), params, jnp.int32(1)), jnp.float32(0.5), params, SPEC
    ).execution


def actions(policy, view, params, n=256):
    keys = jax.random.split(jax.random.key(1), n)
    return jax.vmap(lambda key: policy.act(key, policy.init(params), view, params)[1].action)(keys)


def test_a_burst_of_one_step_is_the_impatient_sweep_and_a_quiet_plan_is_the_mimic(view, params):
    np.testing.assert_array_equal(
        actions(Bursts(SPEC, plan()), view, params), actions(Twap(SPEC, 1), view, params), err_msg="all at once"
    )
    quiet = Bursts(SPEC, plan(loud=0.0))
    np.testing.assert_array_equal(actions(quiet, view, params), actions(Mimic(SPEC), view, params))
    assert not bool(quiet.chosen_reads_private)


def test_a_burst_waits_for_its_start_and_spreads_over_its_window(view, params):
    def sent(step, **changed):
        left = jnp.float32(1.0 - step / SPEC.horizon)
        now = view.replace(public=view.public.replace(time_left=left))
        return float(actions(Bursts(SPEC, plan(**changed)), now, params, 1)[0, 0]) * SPEC.max_order_size

    lots = int(params.parent_lots)
    assert sent(2, start=3.0) == 0.0
    assert sent(3, start=3.0) == pytest.approx(min(lots, SPEC.max_order_size))
    assert sent(3, start=3.0, window=4.0) == pytest.approx(np.ceil(lots / 4.0))
    assert sent(3, start=3.0, window=4.0, clip_lots=SPEC.max_order_size + 1.0) == 0.0, "less than a clip waits"
    assert sent(3, start=3.0, part=0.5) == pytest.approx(min(np.ceil(lots / 2.0), SPEC.max_order_size))


def test_the_private_number_says_which_episodes_are_loud(view, params):
    coin = Bursts(SPEC, plan(loud=0.3, rate=0.0))
    loud = [bool(actions(coin, view.replace(private=jnp.float32(x)), params, 1)[0, 0] != 0.0) for x in (-0.53, -0.52)]
    assert loud == [True, False], "the 0.3 quantile of N(0, 1) is -0.524"
    assert bool(coin.chosen_reads_private)


@pytest.mark.parametrize(
    "changed",
    [{}, {"cover": 0.4, "along": 0.5, "haste": 0.6, "rate": 2.0, "window": 8.0, "loud": 0.5}],
    ids=["at once", "all at play"],
)
def test_a_plan_draws_as_its_law_says(changed):
    check_policy(Bursts(SMALL, plan(**changed)), spec=SMALL)


def test_a_plan_draws_as_its_law_says_where_sizes_depend_on_the_place():
    changed = {"cover": 0.4, "along": 0.5, "haste": 0.6, "loud": 0.5}
    cells = np.random.default_rng(4).gamma(0.7, size=(1 + SMALL.n_offsets, SMALL.max_order_size))
    check_policy(
        Bursts(SMALL, plan(**changed), TableNoise()), spec=SMALL, params=EnvParams(flow=table_of(cells / cells.sum()))
    )


def test_a_plans_place_leads_back_to_it():
    plans = plan_at(np.random.default_rng(0).random((50, len(AXES))), SPEC)
    for i in range(50):
        own = {name: float(getattr(plans, name)[i]) for name in AXES}
        again = plan_at(place_of(own, SPEC), SPEC)
        assert {name: float(getattr(again, name)) for name in AXES} == pytest.approx(own, abs=1e-5)
    ends = plan_at(np.array([np.zeros(len(AXES)), np.full(len(AXES), 1.5)]), SPEC)
    assert (ends.loud.tolist(), ends.start.tolist()) == ([0.0, 1.0], [0.0, round(0.9 * SPEC.horizon)])
