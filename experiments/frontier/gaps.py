"""Set every lane of a sweep beside the best of the scripted family against that lane's own maker and arbitrageur.

    python experiments/frontier/gaps.py --workdir=runs/convergence/80
    python experiments/frontier/report.py

Opponents matter: what a plan costs depends on who quotes. So for each lane its own are frozen, the search begins with
the plans that were best against scripted opponents (``frontier.json``) and takes steps around the best at the lane's
penalty. The best of them, the whole order at once, the mimic and the lane's own policy then play the same fresh
episodes: a search of noisy values may miss the two plans with a name. Rows go to ``gaps.jsonl`` as they are found, and
lanes that stand there, by the name of the sweep's folder, are passed over.
"""

import argparse
import json
import math
import zlib
from pathlib import Path
from typing import Any

import jax
from frontier import CORNERS, HERE, measure, name_of, objective, opponents, program, search

from amarl_jax.host.provenance import provenance
from amarl_jax.lanes.table import OK, read_lanes
from amarl_jax.lanes.trade_off import COST
from amarl_jax.policies.bursts import AXES
from amarl_jax.posterior.exact import ExactSpec

ALWAYS = ("all at once", "mimic")  # plans that are measured again whatever the search found


def total(row: dict[str, Any], penalty: float) -> dict[str, float]:
    """``C + lambda I`` by the reader's posterior, and its standard error, that of C and I taken for independent."""
    errors = (row[name]["stderr"] * weight for name, weight in ((COST, 1.0), ("posterior_nats", penalty)))
    return {"value": objective(row, penalty), "stderr": math.hypot(*errors)}


def gap_of(given: argparse.Namespace, lane: int, penalty: float) -> dict[str, Any]:
    """One row: the lane's own policy and the family's best, on the same fresh episodes against the same opponents."""
    market, params, beside, belief, _ = opponents(given)
    exact = ExactSpec(given.n_episodes, given.n_particles, given.n_private)
    side_by_side = min(64, given.n_episodes)
    compiled = program(market, params, beside, belief, exact, side_by_side)
    parts = ("workdir", "n_rounds", "n_steps", "n_episodes", "n_particles", "n_private", "seed", "begin")
    settings = json.dumps([lane, AXES, *(str(getattr(given, name)) for name in parts)])
    log = given.log / f"lane_{lane}.{zlib.crc32(settings.encode()):08x}.jsonl"  # tells different searches apart
    rows = search(compiled, given, market.spec, params, log)
    keys = list(jax.random.split(jax.random.key(given.seed + 1), -(-given.n_final // given.n_episodes)))
    best_first = [row["plan"] for row in sorted(rows, key=lambda row: objective(row, penalty))]
    chosen = {name_of(plan): plan for plan in (*best_first[: given.n_chosen], *(CORNERS[name] for name in ALWAYS))}
    again = [measure(compiled, keys, plan, params) for plan in chosen.values()]
    best = min(again, key=lambda row: objective(row, penalty))
    own = program(market, params, beside, belief, exact, side_by_side, own=True)
    learned = measure(own, keys, CORNERS["mimic"], params)  # the plan is not played
    found = {"lane": lane, "lambda": penalty, "plan": name_of(best["plan"]), "n_searched": len(rows)}
    for name, row in (("learned", learned), ("family", best)):
        found[name] = {part: row[part] for part in (COST, "posterior_nats", "exact_nats")}
        found[name]["objective"] = total(row, penalty)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True, help="of a finished sweep")
    parser.add_argument("--lanes", type=int, nargs="+", help="default all that are whole")
    parser.add_argument("--n_rounds", type=int, default=3)
    parser.add_argument("--n_steps", type=int, default=8, help="plans of a round around the best")
    parser.add_argument("--n_chosen", type=int, default=3, help="best plans, measured again on fresh episodes")
    parser.add_argument("--n_episodes", type=int, default=256)
    parser.add_argument("--n_final", type=int, default=1024)
    parser.add_argument("--n_particles", type=int, default=32)
    parser.add_argument("--n_private", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path, default=Path("runs/gaps"), help="folder of the searches, which go on there")
    parser.add_argument("--output", type=Path, default=HERE / "gaps.jsonl")
    given = parser.parse_args(namespace=argparse.Namespace(n_first=0, config=None))
    scripted = json.loads((HERE / "frontier.json").read_text())
    given.begin = [row["plan"] for name, row in scripted["rows"].items()]
    given.log.mkdir(parents=True, exist_ok=True)
    columns = read_lanes(given.workdir / "lanes.csv").columns
    known = [json.loads(line) for line in given.output.read_text().splitlines()] if given.output.exists() else []
    for i, lane in enumerate(columns["lane"].astype(int).tolist()):
        wanted = columns["status"][i] == OK and (given.lanes is None or lane in given.lanes)
        seed, penalty = int(columns["seed"][i]), float(columns["lambda"][i])
        here = (given.workdir.name, penalty, seed)
        if not wanted or any((row["sweep"], row["lambda"], row["seed"]) == here for row in known):
            continue
        given.lane, given.penalties = lane, [penalty]
        row = gap_of(given, lane, penalty) | {"sweep": given.workdir.name, "seed": seed}
        row["provenance"] = provenance({"lane": str(lane), "n_rounds": given.n_rounds, "n_steps": given.n_steps}, 0)
        with given.output.open("a") as file:
            file.write(json.dumps(row) + "\n")
        learned, family = (row[name]["objective"]["value"] for name in ("learned", "family"))
        print(f"lambda {penalty:g}, seed {seed}: learned {learned:.3f}, family {family:.3f}", flush=True)


if __name__ == "__main__":
    main()
