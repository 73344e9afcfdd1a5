"""The array book against the plain-Python one, through the public replay; a failure is cut to its shortest prefix."""

import bisect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from amarl_jax.ground_truth.message_streams import N_OWNERS
from amarl_jax.ground_truth.reference_book import ReferenceBook
from amarl_jax.lob.replay import FIELDS, MessageKind, SelfTrade, replay_batch

TRADE = ("price", "quantity", "maker id", "taker id", "maker owner", "taker owner")
BOUND = 1 << 15
RUNNING = 0x01000193


def expectation(
    messages: Sequence[tuple[int, int, int, int, int, int]], capacity: int, self_trade: SelfTrade
) -> dict[str, Any]:
    """Result of the reference book, in parts, for one stream [(kind, side, price, quantity, id, owner)]."""
    ledger = ReferenceBook(capacity, N_OWNERS, self_trade.value, BOUND, BOUND)
    trades, checksum = [], 0
    for message in messages:
        report = ledger.process(*message, None)
        trades += [(*fill[:3], message[4], fill[3], message[5]) for fill in report.fills]
        if message[0] != MessageKind.NONE:
            checksum = (RUNNING * checksum + ledger.checksum()) % 2**32
    bids, asks = ([order[:4] for order in ledger.resting(side)] for side in (1, -1))
    return {"trades": trades, "bids": bids, "asks": asks, "counters": ledger.counters, "checksum": checksum}


def difference(result: Any, expected: Mapping[str, Any]) -> str | None:
    """The first difference between a replay and the reference in words, None if there is none."""
    for name in ("trades", "bids", "asks"):
        rows = getattr(result, name)
        wanted = np.array(expected[name], np.int64).reshape(-1, rows.shape[1])
        n = min(len(rows), len(wanted))
        wrong = np.argwhere(rows[:n] != wanted[:n])
        if len(wrong):
            row, field = wrong[0]
            column = (TRADE if name == "trades" else ("price", "quantity", "id", "owner"))[field]
            return f"{name}[{row}] {column}: {rows[row].tolist()}, reference {wanted[row].tolist()}"
        if len(rows) != len(wanted):
            return f"{name}: {len(rows)} rows, reference {len(wanted)}"
    for name in ("counters", "checksum"):
        if getattr(result, name) != expected[name]:
            return f"{name}: {getattr(result, name)}, reference {expected[name]}"
    return None


def shortest_failing_prefix(fails: Callable[[int], bool], n_messages: int) -> int:
    """Least n such that ``fails(n)``; the checksum runs over every book, so what has failed stays failed."""
    return bisect.bisect_left(range(n_messages), True, key=fails)


def disagreement(
    columns: Mapping[str, np.ndarray],
    capacity: int,
    self_trade: SelfTrade,
    run: Callable[..., Sequence[Any]] = replay_batch,
) -> str | None:
    """Compare streams [B, E]; None, or which stream differs, after how many messages, and how."""
    columns = {name: np.asarray(columns[name]) for name in FIELDS}
    shape = columns["kind"].shape
    messages = np.stack([columns[name] for name in FIELDS], axis=-1).tolist()
    options = {"capacity": capacity, "self_trade": self_trade, "n_owners": N_OWNERS}
    results = run(columns, **options)
    for lane in range(shape[0]):
        if difference(results[lane], expectation(messages[lane], capacity, self_trade)) is None:
            continue

        def difference_after(n, lane=lane):
            prefix = np.arange(shape[1]) < n
            kinds = np.where(prefix, columns["kind"], MessageKind.NONE)
            result = run(columns | {"kind": kinds}, **options)[lane]
            return difference(result, expectation(messages[lane][:n], capacity, self_trade))

        n = shortest_failing_prefix(lambda n: difference_after(n) is not None, shape[1])
        last = dict(zip(FIELDS, messages[lane][n - 1], strict=True))
        return f"stream {lane}, shortest failing prefix {n}, ending in {last}: {difference_after(n)}"
    return None


def as_on(platform):
    """A ``jax.lax.platform_dependent`` that takes the branch of ``platform`` on any platform."""
    return lambda *arguments, default, **branches: branches.get(platform, default)(*arguments)
