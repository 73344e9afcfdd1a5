"""The calibration as Markdown, from the JSON files of this folder.

python experiments/calibration/report.py > experiments/calibration/README.md
"""

import json
from pathlib import Path

from amarl_jax.evaluation.markdown import programs

HERE = Path(__file__).resolve().parent
FILES = ("estimators.json", "seeds.json", "other_estimators.json", "belief.json", "belief_longer.json")
INTRODUCTION = """# Calibration of the estimators against laws of known information

Values are held out, in nats. "Within" is the specification's tolerance: 0.02 nats or 3 of the estimate's own standard
errors for labels, 0.05 nats or 10% for continuous pairs (asked for up to 1 nat). "Above" is more than 3 standard errors
above the truth. MINE and the other estimators had 5000 episodes in all, cross-fitted in five folds; the belief learned
from as many fresh episodes as its file says and is read from 5000 others. This page is written by

    python experiments/calibration/report.py > experiments/calibration/README.md
"""


def line(row):
    """One estimate."""
    within, above = "yes" if row["within"] else "**no**", "**yes**" if row["above_by_3_stderr"] else "no"
    truth, value = row["truth_nats"] + 0.0, row["value_nats"]  # -0.0 + 0.0 is 0.0
    return (
        f"| {row['law']} | {row['estimator']} | {row['seed']} | {truth:.4f} | {value:.4f} "
        f"| {row['stderr_nats']:.4f} | {value - truth:+.4f} | {within} | {above} |"
    )


def tally(rows):
    """How many of the estimates of each estimator are near, and none too high."""
    lines = [
        "| estimator | estimates | laws | within | above | mean error, nats | null laws, largest |\n|" + "---|" * 7
    ]
    for name in dict.fromkeys(row["estimator"] for row in rows):
        of_it = [row for row in rows if row["estimator"] == name]
        error = sum(row["value_nats"] - row["truth_nats"] for row in of_it) / len(of_it)
        null = [abs(row["value_nats"]) for row in of_it if row["truth_nats"] < 1e-9]
        lines.append(
            f"| {name} | {len(of_it)} | {len({row['law'] for row in of_it})} | {sum(row['within'] for row in of_it)} "
            f"| {sum(row['above_by_3_stderr'] for row in of_it)} | {error:+.4f} "
            f"| {f'{max(null):.4f}' if null else 'not run'} |"
        )
    return "\n".join(lines)


def main():
    documents = {name: json.loads((HERE / name).read_text()) for name in FILES if (HERE / name).exists()}
    rows = [row for document in documents.values() for row in document["rows"]]
    outside = [row for row in rows if not row["within"] or row["above_by_3_stderr"]]
    table = "| law | estimator | seed | truth | value | s.e. | error | within | above |\n|" + "---|" * 9
    print(INTRODUCTION)
    print("## Summary\n\n" + tally(rows) + "\n")
    print("## What is outside\n\n" + ("\n".join([table, *map(line, outside)]) if outside else "Nothing.") + "\n")
    for name, document in documents.items():
        where = document["provenance"]
        seconds = sum(row["seconds"] for row in document["rows"])
        print(f"## {name}\n\n`{where['command']}`, commit {programs([where['commit']])}, {seconds:.0f} s in all.\n")
        print("\n".join([table, *map(line, document["rows"])]) + "\n")


if __name__ == "__main__":
    main()
