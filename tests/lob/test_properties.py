import functools

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from amarl_jax.ground_truth.book_comparison import disagreement, expectation
from amarl_jax.ground_truth.message_streams import FIELDS, Mix, random_stream
from amarl_jax.ground_truth.reference_book import COUNTERS
from amarl_jax.lob.replay import MessageKind, SelfTrade, replay_batch

N_STREAMS, N_MESSAGES = 32, 512
N_EXAMPLES = 62  # 62 * 32 * 512 = 1,015,808 messages
CAPACITIES = (1, 3, 8, 32)


@st.composite
def mixes(draw):
    """Every kind of message may be absent or frequent; limit orders never are absent."""
    weights = [0, draw(st.integers(2, 10)), *(draw(st.integers(0, 5)) for _ in range(3)), 0, 0]
    junk = draw(st.sampled_from([0.0, 0.0, 0.02, 0.1]))
    for odd_one in (0, 5, 6):
        weights[odd_one] = junk * sum(weights[1:5])
    return Mix(
        weights=tuple(np.array(weights) / sum(weights)),
        width=draw(st.sampled_from([0, 1, 3, 10, 100, 1 << 15])),
        improvement=draw(st.integers(-2, 3)),
        buys=draw(st.sampled_from([0.0, 0.05, 0.5, 0.5, 0.9])),
        largest=draw(st.sampled_from([1, 2, 10, 100, 1 << 15])),
        odd=draw(st.sampled_from([0.0, 0.01, 0.2])),
        reach=draw(st.sampled_from([2, 10, 200])),
    )


SEEDS = st.integers(0, 2**32 - 1)
# A failing stream is cut to its shortest prefix below, so hypothesis need not shrink it; the same examples every time.
many = functools.partial(
    settings,
    deadline=None,
    database=None,
    derandomize=True,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)


def check(seed, mix, capacity, self_trade):
    columns = random_stream(np.random.default_rng(seed), mix, (N_STREAMS, N_MESSAGES))
    columns.pop("expiry")
    assert (found := disagreement(columns, capacity, self_trade)) is None, found


@pytest.mark.parametrize("self_trade", SelfTrade)
@many(max_examples=2)
@given(SEEDS, mixes())
def test_random_streams_of_any_mix(self_trade, seed, mix):
    check(seed, mix, 3, self_trade)


@pytest.mark.slow
@many(max_examples=N_EXAMPLES)
@given(SEEDS, mixes(), st.sampled_from(CAPACITIES), st.sampled_from(SelfTrade))
def test_a_million_messages_of_any_mix_capacity_and_policy(seed, mix, capacity, self_trade):
    check(seed, mix, capacity, self_trade)


BUSY = Mix((0.02, 0.6, 0.1, 0.06, 0.2, 0.01, 0.01), width=4, improvement=0, buys=0.5, largest=10, odd=0.04, reach=12)


def test_a_failure_is_cut_to_its_shortest_prefix():
    columns = random_stream(np.random.default_rng(0), BUSY, (N_STREAMS, N_MESSAGES))
    lane, last = 5, 300
    order = {"kind": MessageKind.LIMIT, "side": 1, "price": 30, "quantity": 5, "order_id": 9999, "owner": 0}
    for name, value in order.items():
        columns[name][lane, last] = value  # a good bid: it trades or rests

    def forgetful(messages, **options):
        """A book that misses that order."""
        kind = messages["kind"].copy()
        kind[lane, last] = MessageKind.NONE
        return replay_batch(messages | {"kind": kind}, **options)

    found = disagreement(columns, 3, SelfTrade.ALLOW, run=forgetful)
    order["kind"] = int(MessageKind.LIMIT)
    assert found.startswith(f"stream {lane}, shortest failing prefix {last + 1}, ending in {order}: ")


def test_the_streams_reach_every_counter_and_edge():
    """A busy stream and a thin one together see every counted event, full sides, empty sides and deep sweeps."""
    seen, sweep = set(), 0
    for largest, policy in ((10, SelfTrade.CANCEL_RESTING), (2, SelfTrade.CANCEL_INCOMING)):
        mix = Mix(**{**vars(BUSY), "largest": largest})
        columns = random_stream(np.random.default_rng(1), mix, (1, N_MESSAGES))
        out = expectation(rows_of(columns, 0), 3, policy)
        seen |= {name for name, n in out["counters"].items() if n}
        takers = [trade[3] for trade in out["trades"]]
        sweep = max(sweep, max(takers.count(taker) for taker in set(takers)))
    assert seen == set(COUNTERS)
    assert sweep == 3  # the whole side


def rows_of(columns, lane):
    return np.stack([columns[name][lane] for name in FIELDS[:6]], axis=-1).tolist()
