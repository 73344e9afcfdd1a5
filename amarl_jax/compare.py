"""Learning curves of several runs in one figure: ``python -m amarl_jax.compare RUN RUN ... --output=FIG``.

A RUN is the workdir of a run, or of a sweep, whose lanes are averaged by arm and penalty. Draws what the order costs,
how much of it gets done, what the flow gives away as the run's own sources claim it, how often the belief is right, and
what maker and arbitrageur earn; writes FIG.png and FIG.pdf. Beside it the held-out numbers of every run that has
closed, as a table, whose exact information is what counts.

  python -m amarl_jax.compare runs/first runs/second --output=runs/both
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from absl import flags

from amarl_jax.errors import BadInput
from amarl_jax.evaluation.curves import Curve, read_curves
from amarl_jax.host import cli, untrusted
from amarl_jax.host.runlog import closing_table
from amarl_jax.host.stages import stage

SHOWN = {  # of evaluation.json: name in the table, unit
    "information/exact_nats": ("information, exact", "nats"),
    "information/fresh_nats": ("a fresh detector finds", "nats"),
    "execution/shortfall_ticks": ("shortfall", "ticks per parent lot"),
    "execution/completion": ("completion", "share of the parent order"),
    "maker/pnl_tick_lots": ("maker PnL", "tick-lots per episode"),
    "arbitrageur/pnl_tick_lots": ("arbitrageur PnL", "tick-lots per episode"),
}


def compare(workdirs: Sequence[str | Path], output: str | Path) -> list[str]:
    """Draw the learning curves of several workdirs as ``output.png`` and ``output.pdf``; returns the names written.

    Raises :class:`BadInput` where one of them holds no learning curves, or there are none.
    """
    from amarl_jax.evaluation.curves_figure import draw_curves  # matplotlib takes a second to import

    if not workdirs:
        raise BadInput("no run to compare: python -m amarl_jax.compare RUN RUN ... --output=FIG")
    curves: dict[str, Curve] = {}
    names = _short(workdirs)
    for name, workdir in zip(names, workdirs, strict=True):
        for part, curve in read_curves(workdir).items():
            curves[f"{name} {part}".strip()] = curve
    output = Path(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    return draw_curves(curves, output.with_suffix("") if output.suffix in (".png", ".pdf") else output)


def _short(workdirs: Sequence[str | Path]) -> list[str]:
    """The last part of each path; whole paths where these parts are equal."""
    paths = [Path(workdir) for workdir in workdirs]
    names = [path.resolve().name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def held_out(workdir: str | Path) -> tuple[Mapping[str, Mapping[str, float | None]], Mapping[str, int]] | None:
    """The metrics of ``evaluation.json``, and of how many episodes those are whose number is known, by name.

    None where the run has not closed, or is a sweep.
    """
    file = Path(workdir) / "evaluation.json"
    if not file.is_file():
        return None
    document = untrusted.parse_json(untrusted.read_text(file), file)
    metrics = document.get("metrics") if isinstance(document, dict) else None
    if not isinstance(metrics, dict) or not all(isinstance(metric, dict) for metric in metrics.values()):
        raise BadInput(f"{file}: is not the evaluation of a run")
    played, read = (document.get(name) for name in ("n_episodes", "n_read_exactly"))
    counts = {name: read if "/exact_" in name else played for name in metrics}
    return metrics, {name: count for name, count in counts.items() if isinstance(count, int)}


def table_rows(workdirs: Sequence[str | Path]) -> list[tuple[str, str, str]]:
    """Rows of (run and measure, value with its standard error, unit) of the runs that have closed."""
    rows = []
    for name, workdir in zip(_short(workdirs), workdirs, strict=True):
        metrics, counts = held_out(workdir) or ({}, {})
        for metric, (words, unit) in SHOWN.items():
            numbers = (metrics.get(metric, {}).get(part) for part in ("value", "stderr"))
            value, error = (np.nan if number is None else number for number in numbers)
            if np.isfinite(value):
                of = f", of {counts[metric]} episodes" if metric in counts else ""
                rows.append((f"{name}: {words}", f"{value:.3f} +- {error:.3f}", unit + of))
    return rows


def main(values: flags.FlagValues) -> None:
    """Draw, and print the held-out numbers."""
    if values.output is None:
        raise BadInput("--output is required: the figure to write, without suffix")
    workdirs = [cli.user_path("RUN", text) for text in (values.runs or "").split(",") if text]
    output = cli.user_path("--output", values.output)
    rows = table_rows(workdirs)
    with stage("drawing"):
        names = compare(workdirs, output)
    if rows:
        closing_table("\nheld out; +- is one standard error over episodes", rows)
    print(f"written to {output.parent}: {', '.join(names)}")


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Define the flag of the output; the runs are arguments."""
    flags.DEFINE_string("runs", None, "Workdirs, with commas between; or give them without the flag.", values)
    flags.DEFINE_string("output", None, "Figure to write, as FIG.png and FIG.pdf.", values)


def command(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv``, by default the process's; returns its exit code."""
    whole = list(sys.argv if argv is None else argv)
    runs, named = [], whole[:1]
    for text in whole[1:]:
        if named[-1] in ("--output", "-output", "--runs", "-runs"):
            named[-1] = f"{named[-1]}={text}"  # a flag and its value
        elif text.startswith("-"):
            named.append(text)
        else:
            runs.append(text)
    named += [f"--runs={','.join(runs)}"] if runs else []
    if argv is None:
        sys.argv = named
    return cli.run(main, __doc__ or "", define_flags, None if argv is None else named)


if __name__ == "__main__":
    sys.exit(command())
