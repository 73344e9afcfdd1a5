"""The table of `covert_game.json`: what was learned, beside what is exact.

python experiments/covert_game/report.py > experiments/covert_game/covert_game.md
"""

import json
from pathlib import Path

import numpy as np

from amarl_jax.evaluation.markdown import programs
from amarl_jax.information.mine import POSTERIOR_MAX

HERE = Path(__file__).parent
TOLERANCE = 0.1  # what "found" means, relative


def seeds(lanes, penalty, start, key):
    """The values of one key over the seeds of one penalty and start."""
    return np.array([lane[key] for lane in lanes if lane["penalty"] == penalty and lane["start"] == start])


def cell(values, exact):
    """Mean over seeds, their range, and whether the mean is within the tolerance of the exact value."""
    verdict = "" if abs(values.mean() - exact) <= TOLERANCE * abs(exact) else " (off)"
    return f"{values.mean():.3f} [{values.min():.3f}, {values.max():.3f}]{verdict}"


def clip_shift(penalty, prior=0.5):
    """How much the clip of the posterior in the leakage raises P(loud), at infinite leverage.

    A certain detection then pays ``ln(0.98 / p)``, so the quiet tape's posterior at the optimum is
    ``b = 0.98 exp(-1 / (lambda p))`` instead of ``exp(-1 / (lambda p))``, and ``P(loud) = (p - b) / (p (1 - b))``.
    """
    loud = lambda b: max(0.0, (prior - b) / (prior * (1.0 - b)))  # noqa: E731
    quiet_belief = np.exp(-1.0 / (penalty * prior))
    return loud(POSTERIOR_MAX * quiet_belief) - loud(quiet_belief)


def steps_of(config, arm):
    """Environment steps of each lane of an arm: episodes of an update by their length, times the updates."""
    one = config.get("training", {}) | config["arms"][arm]
    return one["horizon"] * one["n_envs"] * one["n_updates"]


def played(config):
    """How many steps the arms play, and whether that is as many for all."""
    steps = {arm: steps_of(config, arm) for arm in config["arms"]}
    told = ", ".join(f"{arm} {number:,}" for arm, number in steps.items())
    alike = "as many in every arm" if len(set(steps.values())) == 1 else "NOT as many in every arm"
    return f"Environment steps of a lane, {alike}: {told}."


def row(exact, results):
    """One line of the table."""
    penalty, pure, mixed = exact["penalty"], exact["deterministic"], exact["randomising"]
    deterministic, randomising = results["deterministic"]["lanes"], results["randomising"]["lanes"]
    loud = mixed["loud_probability"]
    both = np.concatenate([seeds(randomising, penalty, start, "loud_probability") for start in ("quiet", "loud")])
    objective = np.concatenate([seeds(randomising, penalty, start, "objective") for start in ("quiet", "loud")])
    cells = [
        f"{penalty:g}",
        f"{pure['leverage']:.3f}",
        f"{pure['quiet_hill']:.3f}",
        cell(seeds(deterministic, penalty, "quiet", "leverage"), pure["quiet_hill"]),
        f"{pure['loud_hill']:.3f}",
        cell(seeds(deterministic, penalty, "loud", "leverage"), pure["loud_hill"]),
        f"{loud:.3f}",
        cell(seeds(randomising, penalty, "quiet", "loud_probability"), loud),
        cell(seeds(randomising, penalty, "loud", "loud_probability"), loud),
        cell(both, loud),
        f"+{clip_shift(penalty):.3f}",
        f"{mixed['objective']:.4f}",
        f"{objective.mean():.4f}",
    ]
    return "| " + " | ".join(cells) + " |"


def main():
    document = json.loads((HERE / "covert_game.json").read_text())
    origin = document["provenance"]
    names = [
        "lambda",
        "exact d*",
        "quiet hill",
        "learned from quiet",
        "loud hill",
        "learned from loud",
        "exact P(loud)",
        "learned from quiet",
        "learned from loud",
        "both starts",
        "clip",
        "exact objective",
        "learned",
    ]
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += [row(exact, document["results"]) for exact in document["at_measured_penalties"]]
    gaps = [
        lane["claimed_information"] - lane["information"]
        for result in document["results"].values()
        for lane in result["lanes"]
    ]
    lines += [
        "",
        f"Means over {origin['config']['seeds']} seeds [their range]; (off): the mean is more than "
        f"{TOLERANCE:.0%} from the exact value.",
        played(origin["config"]),
        "The column clip: how much the bounds on the posterior inside the leakage raise P(loud) at infinite leverage.",
        f"The MI critic's held-out claim minus the exact I of the same policies: mean {np.mean(gaps):.4f}, from "
        f"{min(gaps):.4f} to {max(gaps):.4f} nats over all lanes.",
        f"Command `{origin['command']}`, commit {programs([origin['commit']])}, "
        f"{document['cpu_seconds']:.0f} CPU-seconds.",
    ]
    print("\n".join(lines))


if __name__ == "__main__":
    main()
