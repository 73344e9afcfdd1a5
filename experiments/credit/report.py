"""What learned critics pay for leakage, as Markdown, from gaussian_sender.json.

python experiments/credit/report.py > experiments/credit/README.md
"""

import json
from pathlib import Path

from amarl_jax.evaluation.markdown import programs

INTRODUCTION = """# Credit with learned critics

A Gaussian sender with a drift for each half of the episode, whose information and its gradient are known in closed
form, beside the policy gradient that training's own functions pay for leakage. "Error" is the length of the difference
to the exact gradient relative to its length, "along" the part of it along the exact gradient, "to Bayes" the error
against what Bayes' posterior pays on the same episodes, which is free of sampling error; the last column is that
sampling error. The first two runs differ in the importance weights of the replay; in "belief untrained" MINE reads a
Transformer that knows nothing; in the last both drifts are equal. This page is written by

    python experiments/credit/report.py > experiments/credit/README.md

![error and bias against critic steps](gaussian_sender.png)
"""


def line(run, source, row):
    """One measurement."""
    return (
        f"| {run} | {source} | {row['critic_steps']} | {row['relative_error']:.3f} "
        f"| {row['bias_along']:+.3f} +- {row['bias_along_stderr']:.3f} | {row['error_against_bayes']:.3f} "
        f"| {row['bayes_relative_error']:.3f} |"
    )


def main():
    document = json.loads((Path(__file__).parent / "gaussian_sender.json").read_text())
    header = "| run | source | critic steps | error | along | to Bayes | sampling |\n|" + "---|" * 7
    rows = [(run, source, of_it) for run, both in document["results"].items() for source, of_it in both.items()]
    print(INTRODUCTION)
    print("\n".join(["## At the plateau\n", header, *(line(run, source, of_it[-1]) for run, source, of_it in rows)]))
    print(
        "\n".join(["\n## On the way\n", header, *(line(run, name, row) for run, name, of_it in rows for row in of_it)])
    )
    where = document["provenance"]
    print(f"\n`{where['command']}`, commit {programs([where['commit']])}.")


if __name__ == "__main__":
    main()
