"""How near is a fitted flow to the day that it was fitted to, and how long does the fit take?

    python experiments/flow/day.py GOOG --messages=GOOG_message_10.csv --orderbook=GOOG_orderbook_10.csv
    python experiments/flow/report.py

Reads a day, fits it, plays episodes of the noise traders alone by the table, by the Beta law of the same moments and as
recorded, and replays the day through the book with and without what comes into view. Writes ``day_NAME.json``: rates,
distances, shares and timings, nothing that was recorded. The samples that this was made for are LOBSTER's, which may
not be passed on: https://lobsterdata.com/info/DataSamples.php.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from amarl_jax import fit_flow
from amarl_jax.evaluation.facts_figure import draw_facts
from amarl_jax.flow.facts import distances, facts_of
from amarl_jax.flow.fit import Fit, fit
from amarl_jax.flow.law import text_of
from amarl_jax.flow.stream import Stream, orders_by_step, save_stream, stream_of
from amarl_jax.flow.stretches import recorded_stretch
from amarl_jax.host.provenance import provenance
from amarl_jax.lob.lobster import follow
from amarl_jax.lob.recording import Recording, read_recording
from amarl_jax.replay_lobster import by_level, curve, levels_that_disagree

WINDOWS = 50  # of the replay, each seeded anew


def relative(simulated: float, recorded: float) -> dict[str, float]:
    """Both, and how far the first is from the second."""
    return {"simulated": simulated, "recorded": recorded, "relative": simulated / recorded - 1.0}


def goals(fitted: Fit, stream: Stream, seconds: float) -> dict[str, Any]:
    """Arrival rate, share of market orders and mean size: of the table's law, and of the orders that are played."""
    flow, orders = fitted.flow, fitted.orders
    table, lots = np.array(flow.table), np.arange(1, flow.max_lots + 1)
    recorded = {"rate": len(orders) / seconds, "market": float(1 - orders.is_limit.mean()), "size": orders.size.mean()}
    played = stream.n_steps * flow.step_seconds
    laws = {
        "table": (flow.rate / flow.step_seconds, table[0].sum(), float(lots @ table.sum(0)) * flow.lot_shares),
        "recorded": (
            len(stream.side) / played,
            1.0 - stream.is_limit.mean(),
            stream.lots.astype(float).mean() * flow.lot_shares,
        ),
    }
    return {
        law: {
            "orders_per_second": relative(float(rate), recorded["rate"]),
            "share_of_market_orders": relative(float(market), recorded["market"]),
            "mean_shares": relative(float(size), float(recorded["size"])),
        }
        for law, (rate, market, size) in laws.items()
    }


def replayed(recording: Recording) -> dict[str, Any]:
    """Agreement of books seeded from as many rows, alone and told of what comes into view."""
    n_rows = len(recording) // WINDOWS - 1
    starts = [window * len(recording) // WINDOWS for window in range(WINDOWS)]
    found: dict[str, Any] = {"windows": WINDOWS}
    for name, take_in in (("alone", False), ("taken_in", True)):
        began = time.process_time()
        followings = [follow(recording, start, n_rows, take_in=take_in) for start in starts]
        table = curve(followings)
        filled = [i for i, n in enumerate(table["rows"]) if n]
        found[name] = {
            "by_level": by_level(followings).tolist(),
            "touch": float(np.concatenate([one.agreeing[:, :, 0].all(1) for one in followings]).mean()),
            "touch_by_seconds": {key: [table[key][i] for i in filled] for key in ("from_seconds", "touch")},
            "disagreement": levels_that_disagree(followings),
            "executions_as_recorded": sum(x.executions_as_recorded for x in followings)
            / max(sum(x.executions for x in followings), 1),
            "orders_taken_in": sum(one.taken_in for one in followings),
            "orders_taken_out": sum(one.taken_out for one in followings),
            "cpu_seconds": round(time.process_time() - began, 1),
        }
    return found


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All of it, as a document."""
    clock = [time.process_time()]
    recording = read_recording(args.messages, args.orderbook)
    clock.append(time.process_time())
    fitted = fit(recording)
    clock.append(time.process_time())
    stream = stream_of(fitted)
    played = fit_flow.played_law(fitted, stream)
    recorded = facts_of([recorded_stretch(recording, fitted)])
    clock.append(time.process_time())
    simulated = fit_flow.simulate(fitted, args.episodes, args.seed, stream)
    clock.append(time.process_time())
    read, fits, facts, plays = np.diff(clock).round(2).tolist()
    seconds = float(recording.time[-1] - recording.time[0])
    flow = fitted.flow
    if args.keep is not None:
        args.keep.mkdir(parents=True, exist_ok=True)
        (args.keep / "flow.json").write_text(text_of(flow))
        (args.keep / "stream.npz").write_bytes(save_stream(stream))
        draw_facts(recorded, simulated).savefig(args.keep / "facts.png", dpi=130)
    return {
        "rows": len(recording),
        "levels": int(recording.levels.shape[2]),
        "cpu_seconds": {"read": read, "fit": fits, "facts": facts, "simulate": plays},
        "units": {"tick": flow.tick, "lot_shares": flow.lot_shares, "step_seconds": flow.step_seconds},
        "orders_per_step": flow.rate,
        "orders_per_step_variance": flow.details["orders_per_step_variance"],
        "steps": {
            "recorded": stream.n_steps,
            "played": played.n_steps,
            "divided": played.divided,
            "orders": len(stream.side),
            "orders_in_divided": float(
                orders_by_step(stream)[orders_by_step(stream) > played.bound].sum() / len(stream.side)
            ),
            "bound": played.bound,
        },
        "goals": goals(fitted, stream, seconds),
        "distances": {name: distances(recorded, one) for name, one in simulated.items()},
        "replay": replayed(recording) if args.replay else None,
    }


def main() -> None:
    """Measure one day."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of the day, as in day_NAME.json")
    parser.add_argument("--messages", type=Path, required=True)
    parser.add_argument("--orderbook", type=Path, required=True)
    parser.add_argument("--episodes", type=int, default=64, help="of 390 steps, of each law")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for flow.json, stream.npz and facts.png of the day")
    parser.add_argument("--no_replay", dest="replay", action="store_false")
    args = parser.parse_args()
    found = measure(args)
    files = {"messages": args.messages.name, "orderbook": args.orderbook.name}
    named = [f"--{name}={file}" for name, file in files.items()]  # names, without folders
    sys.argv[1:] = [args.name, *named, f"--episodes={args.episodes}", *([] if args.replay else ["--no_replay"])]
    config = files | {"episodes": args.episodes}
    document = {"provenance": provenance(config, args.seed), **found}
    path = Path(__file__).with_name(f"day_{args.name}.json")
    path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
    print(f"written to {path.name}")


if __name__ == "__main__":
    main()
