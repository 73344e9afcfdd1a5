"""Fit the order flow of a recorded day, for the simulated market to have.

    python -m amarl_jax.fit_flow --messages=M.csv --orderbook=B.csv --output=DIR
    python -m amarl_jax.fit_flow --orders=MBO.csv --columns=databento --output=DIR

DIR gets flow.json, the laws: how many orders come when, kind, offset and size of an order as one table, how long they
rest, depth; no recorded order is in it. --config.environment.flow=DIR/flow.json trains in that flow. Beside it stand
facts.json, what the recorded market and simulated ones look like and how far they are apart, and facts.png.

The files are LOBSTER's, plain, gzip or zip, of any numbers of levels, or an order-by-order file of another vendor, of
which --columns says what stands where: databento, itch, or a JSON file with a mapping of one's own (the documentation
of amarl_jax.lob.feed_columns has an example). Units of the simulated market are chosen where they are not given: a step
is the time in which --orders_per_step orders come, the tick is so large that 20 of them hold the offsets of all limit
orders but 2%, a lot is what keeps the mean size when sizes are rounded to 1, ..., --max_lots lots.
"""

import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from matplotlib.figure import Figure

import amarl_jax
from amarl_jax import config as configuration
from amarl_jax.config.flow_settings import LAW, settings_of
from amarl_jax.errors import BadInput
from amarl_jax.evaluation.figures import STYLES
from amarl_jax.evaluation.market_facts import play_noise
from amarl_jax.flow.facts import UNITS, Facts, distances, facts_of
from amarl_jax.flow.fit import Fit, fit
from amarl_jax.flow.law import MAX_RATE, text_of
from amarl_jax.flow.stretches import recorded_stretch
from amarl_jax.host import cli, machine
from amarl_jax.host.runlog import closing_table
from amarl_jax.host.workdir import write_atomically
from amarl_jax.lob.feed_columns import MAPPINGS, read_columns_file
from amarl_jax.lob.order_feed import read_order_feed
from amarl_jax.lob.recording import Recording, read_recording
from amarl_jax.market.noise import NoiseLaw
from amarl_jax.market.noise import orders as beta_law
from amarl_jax.market.params import as_arrays
from amarl_jax.market.table_noise import TableNoise, table_of

NAMES = ("flow.json", "facts.json", "facts.png")
LAWS: dict[str, NoiseLaw] = {"table": TableNoise(), "beta": beta_law}  # simulated beside the recorded day
_N_QUANTILES = 41  # of a law in facts.json


def main(values: flags.FlagValues) -> None:
    """Read, fit, simulate, write."""
    folder = _check_output(values.output)
    experiment = configuration.resolve(configuration.load("configs/default.py"))
    with machine.prepared(experiment.run) as device:
        _fit_and_compare(values, folder, device)


def _fit_and_compare(values: flags.FlagValues, folder: Path, device: str) -> None:
    """All of the command, on a machine that is prepared."""
    names = ("tick", "lot_shares", "max_lots", "orders_per_step")
    options: dict[str, Any] = {name: values[name].value for name in names}
    try:
        recording = _read(values)
        print(f"{device} | output {folder}")
        fitted = fit(recording, **options)
    except ValueError as error:
        raise BadInput(_flagged(str(error), names)) from None
    recorded = facts_of([recorded_stretch(recording, fitted)])
    simulated = simulate(fitted, values.episodes, values.seed) if values.episodes else {}
    apart = {name: distances(recorded, facts) for name, facts in simulated.items()}
    report = {
        "what": "facts of the recorded market and of simulated noise traders alone, in ticks, lots and steps",
        "version": amarl_jax.__version__,
        "recorded": _as_json(recorded),
        "simulated": {name: _as_json(facts) for name, facts in simulated.items()},
        "distances": apart,
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / NAMES[0], text_of(fitted.flow).encode())
    write_atomically(folder / NAMES[1], (json.dumps(report, indent=1, allow_nan=False) + "\n").encode())
    write_atomically(folder / NAMES[2], _figure(recorded, simulated))
    closing_table(f"\n{recording.messages.name}, {len(recording):,} rows", _rows(fitted))
    for name, found in apart.items():
        closing_table(f"\nsimulated by the {name} law, beside the recorded day", _distance_rows(found))
    print(f"written to {folder}: {', '.join(NAMES)}")


def simulate(fitted: Fit, n_episodes: int, seed: int) -> dict[str, Facts]:
    """Facts of the noise traders of a fitted flow, by the table and by the Beta law of the same moments."""
    settings = {name: value for name, value in settings_of(fitted.flow).items() if name != LAW}
    experiment = configuration.resolve(configuration.load("configs/default.py", settings))
    params = as_arrays(experiment.env_params.replace(flow=table_of(np.array(fitted.flow.table))))  # type: ignore[attr-defined]
    keys = jax.random.split(jax.random.key(seed), len(LAWS))
    return {
        name: facts_of(play_noise(key, params, experiment.market_spec, law, n_episodes))
        for key, (name, law) in zip(keys, LAWS.items(), strict=True)
    }


def _read(values: flags.FlagValues) -> Recording:
    """The recording that the flags name; ValueError where it cannot be read."""
    if values.orders is None:
        paths = [_check_file(name, values[name].value) for name in ("messages", "orderbook")]
        return read_recording(*paths)
    for name in ("messages", "orderbook"):
        if values[name].value is not None:
            raise BadInput(f"--{name}={values[name].value}: not beside --orders, which holds every order itself")
    path = _check_file("orders", values.orders)
    columns = values.columns
    mapping = MAPPINGS.get(columns) or read_columns_file(_check_file("columns", columns))
    return read_order_feed(path, mapping, instrument=values.instrument or "")


def _flagged(line: str, names: Sequence[str]) -> str:
    """The line with the flag in front that its argument came from."""
    return f"--{line}" if line.partition(":")[0] in names else line


def _rows(fitted: Fit) -> list[tuple[str, Any, str]]:
    """What was fitted, for the table."""
    flow, details = fitted.flow, fitted.flow.details
    hidden, bursts = details["hidden_executions"], details["orders_per_step_variance"]
    tilt = f"of P(buy) per tick that the recent price is above mid, +- {flow.tilt_stderr:.2g}"
    return [
        ("orders", f"{details['orders']:,.0f}", f"and {hidden:,.0f} executions of hidden orders"),
        (
            "step",
            flow.step_seconds,
            f"seconds, {flow.rate:g} orders; variance {bursts:.3g} times that of a Poisson law",
        ),
        ("tick", flow.tick / 100, f"cents; the recording's is {flow.recorded_tick / 100:g}"),
        ("lot", f"{flow.lot_shares:,}", "shares"),
        ("market orders", float(np.sum(flow.table[0])), f"of all orders; {details['market_orders']:.4g} recorded"),
        ("mean size", float(fitted.lots.mean() * flow.lot_shares), f"shares; {details['mean_shares']:.4g} recorded"),
        ("offsets", f"{flow.offset_min} to {flow.offset_max}", "ticks behind mid"),
        ("lifetime", flow.lifetime_steps, f"steps, geometric mean; {details['cancelled']:.0%} were taken out"),
        ("tilt", flow.tilt_per_tick, tilt),
        ("smoothing", f"{details['smoothing_orders']:,.0f}", "orders' worth of independence of place and size"),
        ("depth", f"{flow.opening_levels} x {flow.opening_lots}", "levels and lots that open a side"),
    ]


def _distance_rows(found: dict[str, dict[str, float]]) -> list[tuple[str, Any, str]]:
    rows: list[tuple[str, Any, str]] = []
    for name, one in found.items():
        if "wasserstein" in one:
            means = f"mean {one['simulated_mean']:.3g}, recorded {one['recorded_mean']:.3g} {UNITS[name]}"
            rows.append((name, one["wasserstein_of_range"], f"Wasserstein, of the range; KS {one['ks']:.2f}; {means}"))
        else:
            rows.append((name, one["mean"], f"mean absolute difference; largest {one['largest']:.3g}"))
    return rows


def _as_json(facts: Facts) -> dict[str, Any]:
    """Quantiles of the laws, points of the curves; None for what is not known."""
    at = np.linspace(0, 1, _N_QUANTILES)
    return {
        "quantiles": {name: np.quantile(x, at).tolist() if len(x) else None for name, x in facts.laws.items()},
        "curves": {
            name: {"at": x.tolist(), "is": [None if np.isnan(value) else float(value) for value in y]}
            for name, (x, y) in facts.curves.items()
        },
    }


def _figure(recorded: Facts, simulated: dict[str, Facts]) -> bytes:
    """All facts, recorded and simulated."""
    figure = Figure(figsize=(11, 9), layout="constrained")
    panels = iter(figure.subplots(4, 3).flat)
    shown = {"recorded": recorded, **simulated}
    for name in (*recorded.laws, *recorded.curves):
        axes = next(panels)
        for (label, facts), (colour, style) in zip(shown.items(), STYLES, strict=False):
            if name in facts.laws:
                x = np.sort(facts.laws[name])
                keep = np.linspace(0, len(x) - 1, min(len(x), 400)).astype(int)
                axes.step(x[keep], (keep + 1) / max(len(x), 1), style, color=colour, label=label, where="post")
                if len(recorded.laws[name]):
                    axes.set_xlim(*_span(recorded.laws[name]))
            else:
                axes.plot(*facts.curves[name], style, color=colour, label=label)
        axes.set_title(name, fontsize=9)
        axes.set_xlabel(UNITS[name], fontsize=8)
        axes.set_ylabel("share below" if name in recorded.laws else "", fontsize=8)
    for axes in panels:
        axes.axis("off")
    figure.axes[0].legend(fontsize=8)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=130)
    return file.getvalue()


def _span(x: np.ndarray) -> tuple[float, float]:
    low, high = (float(q) for q in np.quantile(x, [0.0, 0.995]))
    return low, high if high > low else low + 1.0


def _check_file(name: str, value: str | None) -> Path:
    if value is None:
        raise BadInput(
            f"--{name} is required, a CSV file" + (" beside --orderbook, or --orders" * (name == "messages"))
        )
    path = cli.user_path(f"--{name}", value)
    if not os.path.isfile(path):
        known = f"; one of {', '.join(MAPPINGS)}, or a JSON file" if name == "columns" else ""
        raise BadInput(f"--{name} {path}: {'is not a regular file' if os.path.exists(path) else 'no such file'}{known}")
    return path


def _check_output(value: str | None) -> Path:
    """The folder, where it can be made and holds no flow."""
    if value is None:
        raise BadInput("--output is required, a folder for flow.json and the report")
    folder = cli.user_path("--output", value)
    there = next(path for path in (folder, *folder.absolute().parents) if path.is_symlink() or path.exists())
    found = next((name for name in NAMES if (folder / name).exists()), None)
    if not there.is_dir():
        raise BadInput(f"--output {folder}: {there} is not a folder")
    if found:
        raise BadInput(f"--output {folder}: already holds a fitted flow ({found}); choose another folder")
    return folder


def define_flags(values: flags.FlagValues, _: Sequence[str]) -> None:
    """The files, a folder, the units."""
    flags.DEFINE_string("messages", None, "LOBSTER message file.", values)
    flags.DEFINE_string("orderbook", None, "LOBSTER order-book file of the same day.", values)
    flags.DEFINE_string("orders", None, "Order-by-order file of another vendor, instead of these two.", values)
    flags.DEFINE_string("columns", "databento", "What its columns are: databento, itch, or a JSON file.", values)
    flags.DEFINE_string("instrument", None, "The instrument of it to read; by default the first.", values)
    flags.DEFINE_string("output", None, "Folder for flow.json, facts.json and facts.png.", values)
    numbers = (  # name, default, least, largest, meaning
        ("tick", None, 1, 10_000_000, "Tick of the simulated market in 1e-4 dollars, a multiple of the recorded one."),
        ("lot_shares", None, 1, 1_000_000, "Shares of a lot."),
        ("max_lots", 20, 1, 127, "Lots of the largest order; larger ones count as that."),
        ("episodes", 16, 0, 4096, "Simulated episodes of 390 steps beside the recorded day, for either law; 0: none."),
        ("seed", 0, 0, 2**31 - 1, "Root random key of them."),
    )
    for name, default, least, most, meaning in numbers:
        flags.DEFINE_integer(name, default, meaning, lower_bound=least, upper_bound=most, flag_values=values)
    flags.DEFINE_float("orders_per_step", 10.0, "Orders that come in a step.", 0.1, float(MAX_RATE), values)


def command(argv: Sequence[str] | None = None) -> int:
    """The command with ``argv``, by default the process's; returns its exit code."""
    return cli.run(main, __doc__ or "", define_flags, argv)


if __name__ == "__main__":
    sys.exit(command())
