"""The expected results of the reference system's README, and what was measured at the same penalties.

The reference is the PyTorch framework `adversarial-market-marl` 0.1.0 (doi 10.5281/zenodo.19310428); its README calls
the table "expected results at full training (10M steps per model)", and no file of it holds a measurement.
"""

import csv
from pathlib import Path

from measured import Measured

SOURCE = "[adversarial-market-marl](https://doi.org/10.5281/zenodo.19310428)"
EXPECTED = {  # lambda: D_KL, the maker's belief accuracy, implementation shortfall, as they stand there
    0.0: ("> 1.5", "> 72%", "low"),
    0.25: ("> 0.8", "> 65%", "low"),
    0.5: ("→ 0 (λ\\*)", "→ 50%", "rising"),
    1.0: ("≈ 0", "≈ 50%", "high"),
    2.0: ("≈ 0", "≈ 50%", "very high"),
}


def belief_accuracy(curves: Path) -> dict[float, float]:
    """Share of episodes that the maker's belief names right at the horizon, by penalty, in the last update's rollouts.

    The belief has not been fitted to them; means over seeds.
    """
    last: dict[float, tuple[int, float]] = {}
    with curves.open(newline="") as file:
        for row in csv.DictReader(file):
            penalty, update = float(row["lambda"]), int(row["update"])
            if update > last.get(penalty, (0, 0.0))[0]:
                last[penalty] = update, float(row["phase_b/belief/final_accuracy"])
    return {penalty: accuracy for penalty, (_, accuracy) in last.items()}


def beside_measured(main: Measured, curves: Path) -> list[str]:
    """The reference's table with a measured column beside each expected one; penalties without lanes say so."""
    lines = ["", "## Beside the reference's expectations", ""]
    lines += [
        f"Expected: the README of {SOURCE}, whose table was never measured. Measured: here, at the size above.",
        "",
        "| lambda | KL, nats: expected | measured | accuracy: expected of the belief | the belief's, last update "
        "| a fresh detector's | shortfall: expected | measured, units |",
        "|---" * 8 + "|",
    ]
    believed = belief_accuracy(curves)
    for penalty, (divergence, accuracy, cost) in EXPECTED.items():
        if penalty not in main.penalties:
            cells = [divergence, "not measured", accuracy, "not measured", "not measured", cost, "not measured"]
        else:
            found = {name: main.at(penalty, name) for name in ("kl_nats", "accuracy", "shortfall_units")}
            cells = [divergence, found["kl_nats"], accuracy, f"{believed[penalty]:.3f}", found["accuracy"]]
            cells += [cost, found["shortfall_units"]]
        lines.append(f"| {penalty:g} | " + " | ".join(map(str, cells)) + " |")
    return lines
