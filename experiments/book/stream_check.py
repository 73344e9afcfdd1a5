"""Compare the array book with the plain-Python reference on as many random messages as time allows.

    python experiments/book/stream_check.py --messages=100000000 --output=stream_check.json

Every example draws a mix, a capacity and a self-trade policy and makes streams of 512 messages, replayed in one batched
call. Trades are compared field by field, then the resting book in priority order, all counters, and the checksum that
runs over the whole book after every message. The first difference ends the run with its shortest failing prefix. The
result says how many messages were checked, which is less than --messages where --minutes ran out first.
"""

import argparse
import json
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from amarl_jax.ground_truth.book_comparison import disagreement
from amarl_jax.ground_truth.message_streams import FIELDS, Mix, random_stream
from amarl_jax.host.provenance import provenance
from amarl_jax.lob.replay import SelfTrade

CAPACITIES = (1, 3, 8, 32, 100)
N_STREAMS, N_MESSAGES = 64, 512


def draw_mix(rng):
    """Every kind of message may be absent or frequent; limit orders never are absent."""
    weights = np.array([0, rng.integers(2, 11), *rng.integers(0, 6, 3), 0, 0], float)
    weights[[0, 5, 6]] = rng.choice([0.0, 0.0, 0.02, 0.1]) * weights.sum()
    return Mix(
        weights=tuple(weights / weights.sum()),
        width=int(rng.choice([0, 1, 3, 10, 100, 1 << 15])),
        improvement=int(rng.integers(-2, 4)),
        buys=float(rng.choice([0.0, 0.05, 0.5, 0.5, 0.9])),
        largest=int(rng.choice([1, 2, 10, 100, 1 << 15])),
        odd=float(rng.choice([0.0, 0.01, 0.2])),
        reach=int(rng.choice([2, 10, 200])),
    )


def check(job):
    """One example; a description of the first difference, or None."""
    seed, example = job
    rng = np.random.default_rng([seed, example])
    mix, policy = draw_mix(rng), list(SelfTrade)[rng.integers(len(SelfTrade))]
    capacity = int(rng.choice(CAPACITIES))
    columns = random_stream(rng, mix, (N_STREAMS, N_MESSAGES))
    found = disagreement({name: columns[name] for name in FIELDS}, capacity, policy)
    return None if found is None else f"example {example}, {mix}, capacity {capacity}, {policy}: {found}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=100_000_000)
    parser.add_argument("--minutes", type=float, default=None, help="stop after so long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    per_example = N_STREAMS * N_MESSAGES
    sizes = {"streams": N_STREAMS, "messages_per_stream": N_MESSAGES, "capacities": CAPACITIES}
    origin = provenance({**sizes, "processes": arguments.processes, "minutes": arguments.minutes}, arguments.seed)
    jobs = ((arguments.seed, example) for example in range(-(-arguments.messages // per_example)))
    started, n_examples, found = time.monotonic(), 0, None
    with get_context("spawn").Pool(arguments.processes) as pool:
        for found in pool.imap(check, jobs):
            n_examples += 1
            late = arguments.minutes is not None and time.monotonic() - started > 60 * arguments.minutes
            if found or late:
                break
        pool.terminate()
    result = {
        "what": "array book against the plain-Python reference book on random streams",
        "messages_checked": n_examples * per_example,
        "messages_asked_for": arguments.messages,
        "difference": found,
        "compared": ["trades", "bids", "asks", "counters", "checksum of the book after every message"],
        "seconds": round(time.monotonic() - started, 1),
        **origin,
    }
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    raise SystemExit(found is not None)


if __name__ == "__main__":
    main()
