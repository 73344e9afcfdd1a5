"""Fit the order flow of a recorded day, for the simulated market to have.

    python -m amarl_jax.fit_flow --messages=M.csv --orderbook=B.csv --output=DIR
    python -m amarl_jax.fit_flow --orders=MBO.csv --columns=databento --output=DIR

DIR gets flow.json, the laws: how many orders come when, kind, offset and size of an order as one table, how long they
rest, depth; no recorded order is in it. --config.environment.flow=DIR/flow.json trains in that flow. Beside it stand
facts.json, what the recorded market and simulated ones look like and how far they are apart, and facts.png. With
--stream there is also stream.npz, the recorded orders themselves, which --config.environment.noise_law=recorded plays.

The files are LOBSTER's, plain, gzip or zip, of any numbers of levels, or an order-by-order file of another vendor, of
which --columns says what stands where: databento, itch, or a JSON file with a mapping of one's own (the documentation
of amarl_jax.lob.feed_columns has an example). Units of the simulated market are chosen where they are not given: a step
is the time in which --orders_per_step orders come, the tick is so large that 20 of them hold the offsets of all limit
orders but 2%, a lot is what keeps the mean size when sizes are rounded to 1, ..., --max_lots lots.
"""

import dataclasses
import io
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
from amarl_jax.config.flow_settings import BOUND, LAW, bound_of_recorded, settings_of
from amarl_jax.errors import BadInput
from amarl_jax.evaluation.facts_figure import draw_facts
from amarl_jax.evaluation.facts_report import FACTS_FILE, as_bytes, distance_rows, document
from amarl_jax.evaluation.market_facts import play_noise
from amarl_jax.flow.facts import Facts, facts_of
from amarl_jax.flow.fit import Fit, fit
from amarl_jax.flow.law import MAX_RATE, text_of
from amarl_jax.flow.stream import Stream, save_stream, stream_of
from amarl_jax.flow.stretches import recorded_stretch
from amarl_jax.host import cli, machine
from amarl_jax.host.runlog import closing_table
from amarl_jax.host.stages import stage
from amarl_jax.host.workdir import write_atomically
from amarl_jax.lob.feed_columns import MAPPINGS, read_columns_file
from amarl_jax.lob.order_feed import read_order_feed
from amarl_jax.lob.recording import Recording, read_recording
from amarl_jax.market.noise import NoiseLaw
from amarl_jax.market.noise import orders as beta_law
from amarl_jax.market.recorded_noise import RecordedNoise, recorded_noise, windows_of
from amarl_jax.market.table_noise import TableNoise, table_of
from amarl_jax.trees import as_arrays

NAMES = ("flow.json", FACTS_FILE, "facts.png")
STREAM = "stream.npz"
LAWS: dict[str, NoiseLaw] = {"table": TableNoise(), "beta": beta_law}  # simulated beside the recorded day


def main(values: flags.FlagValues) -> None:
    """Read, fit, simulate, write."""
    folder = _check_output(values.output)
    experiment = configuration.resolve(configuration.load("configs/default.py"))
    with machine.prepared(experiment.run) as device:
        _fit_and_compare(values, folder, device)


def _fit_and_compare(values: flags.FlagValues, folder: Path, device: str) -> None:
    """Do the work of the command, on a prepared machine."""
    names = ("tick", "lot_shares", "max_lots", "orders_per_step")
    options: dict[str, Any] = {name: values[name].value for name in names}
    try:
        recording = _read(values)
        print(f"{device} | output {folder}")
        with stage(f"fitting the order flow of {len(recording):,} rows"):
            fitted = fit(recording, **options)
        stream = stream_of(fitted, values.seed) if values.stream else None
    except ValueError as error:
        raise BadInput(_flagged(str(error), names)) from None
    recorded = facts_of([recorded_stretch(recording, fitted)])
    simulated = {}
    if values.episodes:
        with stage(f"simulating {values.episodes:,} days of what was fitted"):
            simulated = simulate(fitted, values.episodes, values.seed, stream)
    report = {"version": amarl_jax.__version__, **document(recorded, simulated)}
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / NAMES[0], text_of(fitted.flow).encode())
    write_atomically(folder / NAMES[1], as_bytes(report))
    write_atomically(folder / NAMES[2], _as_png(draw_facts(recorded, simulated)))
    if stream is not None:
        write_atomically(folder / STREAM, save_stream(stream))
        print(f"stream: {played_law(fitted, stream).in_words}")
    closing_table(f"\n{recording.messages.name}, {len(recording):,} rows", _rows(fitted))
    for name, found in report["distances"].items():
        closing_table(f"\nsimulated by the {name} law, beside the recorded day", distance_rows(found))
    print(f"written to {folder}: {', '.join((*NAMES, *([STREAM] if values.stream else [])))}")


def simulate(fitted: Fit, n_episodes: int, seed: int, stream: Stream | None = None) -> dict[str, Facts]:
    """Facts of the noise traders of a fitted flow: by the table, by the Beta law of the same moments, as recorded."""
    settings = {name: value for name, value in settings_of(fitted.flow).items() if name != LAW}
    experiment = configuration.resolve(configuration.load("configs/default.py", settings))
    spec, laws = experiment.market_spec, dict(LAWS)
    params = experiment.env_params.replace(flow=table_of(np.array(fitted.flow.table)))  # type: ignore[attr-defined]
    bound = bound_of_recorded(spec.max_noise_orders)
    played = None if stream is None else played_law(fitted, stream)
    if played is not None and played.n_steps >= spec.horizon:
        laws["recorded"] = played
        params = params.replace(windows=np.stack(windows_of(played.n_steps, spec.horizon, 0.0)))
    keys = jax.random.split(jax.random.key(seed), len(laws))
    sizes = dict.fromkeys(laws, spec) | {"recorded": dataclasses.replace(spec, max_noise_orders=bound)}
    return {
        name: facts_of(play_noise(key, as_arrays(params), sizes[name], law, n_episodes))
        for key, (name, law) in zip(keys, laws.items(), strict=True)
    }


def played_law(fitted: Fit, stream: Stream) -> RecordedNoise:
    """The noise traders of a stream, in steps of as many orders as a market of its flow takes by default."""
    return recorded_noise(stream, bound_of_recorded(settings_of(fitted.flow)[BOUND]))


def _read(values: flags.FlagValues) -> Recording:
    """The recording that the flags name; ValueError where it cannot be read."""
    if values.orders is None:
        alone = next((name for name in ("columns", "instrument") if values[name].present), None)
        if alone:
            raise BadInput(f"--{alone}={values[alone].value}: only beside --orders, whose columns it is about")
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
    """The line, preceded by the flag that its argument came from."""
    return f"--{line}" if line.partition(":")[0] in names else line


def _rows(fitted: Fit) -> list[tuple[str, Any, str]]:
    """Rows of the table of fitted values."""
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


def _as_png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=130)
    return file.getvalue()


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
    """The output folder; raises :class:`BadInput` unless it can be made and holds no flow."""
    if value is None:
        raise BadInput("--output is required, a folder for flow.json and the report")
    folder = cli.folder_to_write("--output", cli.user_path("--output", value))
    found = next((name for name in (*NAMES, STREAM) if (folder / name).exists()), None)
    if found:
        raise BadInput(f"--output {folder}: already holds a fitted flow ({found}); choose another folder")
    return folder


def define_flags(values: flags.FlagValues, _: Sequence[str]) -> None:
    """Define the flags: the files, a folder, the units."""
    flags.DEFINE_string("messages", None, "LOBSTER message file.", values)
    flags.DEFINE_string("orderbook", None, "LOBSTER order-book file of the same day.", values)
    flags.DEFINE_string("orders", None, "Order-by-order file of another vendor, instead of these two.", values)
    flags.DEFINE_string("columns", "databento", "What its columns are: databento, itch, or a JSON file.", values)
    flags.DEFINE_string("instrument", None, "The instrument of it to read; by default the first.", values)
    flags.DEFINE_boolean("stream", False, "Write stream.npz too: the recorded orders themselves.", values)
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
    """Run the command with ``argv``, by default the process's; returns its exit code."""
    return cli.run(main, __doc__ or "", define_flags, argv)


if __name__ == "__main__":
    sys.exit(command())
