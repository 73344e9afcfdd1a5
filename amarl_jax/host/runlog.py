"""Logs of a run: ``metrics.jsonl``, TensorBoard, optionally W&B; a progress line; a closing table."""

import dataclasses
import hashlib
import json
import math
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from amarl_jax.config import flatten
from amarl_jax.errors import BadInput
from amarl_jax.host import untrusted
from amarl_jax.host.checkpoint_record import Training
from amarl_jax.host.tensorboard import Events, grouped
from amarl_jax.host.workdir import METRICS_FILE, Run, write_atomically

_BAR_WIDTH = 16  # columns, of the bar of the updates done
_FILE_WIDTH = 140  # columns
_MAX_LINE = 1 << 20  # bytes; an update's metrics are some three thousand


@dataclasses.dataclass(frozen=True)
class CurvesFile:
    """The rows of a ``metrics.jsonl`` up to an update, found complete and in order."""

    rows: int
    size: int  # bytes
    digest: str  # SHA-256 of them


class RunLog:
    """Metrics of a run, one JSON object per update (and lane) appended to ``metrics.jsonl``, mirrored to the loggers.

    A number that is not finite is written as null. Before appending, a last line torn by a crash is cut off, and so
    are the rows of updates after ``done``, the one that the run continues from: they are about to be made again.
    Raises :class:`BadInput`, and cuts nothing, where the rows up to there are not all of them in order. TensorBoard
    shows ``of_lanes``, what the lanes of a sweep differ in, beside each.
    """

    def __init__(self, run: Run, done: int = 0, n_lanes: int = 0, of_lanes: Sequence[Mapping[str, Any]] = ()) -> None:
        settings = run.experiment.run
        self.path = run.path / METRICS_FILE
        self._rows, self._hash = _cut_after(self.path, done, n_lanes)
        self._wandb = _open_wandb(run) if settings.use_wandb else None
        self._file = self.path.open("a")
        self._events = Events(run.path / "tensorboard", done + 1) if settings.use_tensorboard else None
        if self._events is not None and n_lanes == 0:
            self._events.hyperparameters(flatten(run.config))
        if self._events is not None:
            for lane, varied in enumerate(of_lanes):
                self._events.hyperparameters(varied, lane=lane)

    def write(self, update: int, metrics: Mapping[str, Any]) -> None:
        """Append one update's scalars (anything ``float`` takes, or None)."""
        row: dict[str, float | None] = {name: _finite(value) for name, value in metrics.items()}
        line = json.dumps({"update": int(update), **row}, allow_nan=False) + "\n"
        self._file.write(line)
        self._file.flush()
        self._rows += 1
        self._hash.update(line.encode())
        self._show(update, row)

    def held_out(self, update: int, metrics: Mapping[str, Any]) -> None:
        """Show measures on fresh episodes after ``update``; ``metrics.jsonl``, which has rows of updates, gets none."""
        lane = {name: metrics[name] for name in metrics if name == "lane"}
        named = {f"held_out/{name}": value for name, value in metrics.items() if name != "lane"}
        self._show(update, {name: _finite(value) for name, value in (lane | named).items()})

    def _show(self, update: int, row: Mapping[str, float | None]) -> None:
        numbers = {name: value for name, value in row.items() if value is not None}
        if self._events is not None:
            self._events.write(update, numbers)
        if self._wandb is not None:
            self._wandb.log({grouped(name): value for name, value in numbers.items()}, step=int(update))

    @property
    def shows_pictures(self) -> bool:
        """True if some logger shows pictures."""
        return self._events is not None or self._wandb is not None

    def picture(self, update: int, name: str, path: Path) -> None:
        """Show a PNG file, drawn after ``update``."""
        if self._events is not None:
            self._events.picture(update, name, path)
        if self._wandb is not None:
            import wandb

            self._wandb.log({name: wandb.Image(str(path))}, step=int(update))

    def training(self, configuration: str, lanes: str = "") -> Training:
        """The part of a checkpoint's record on what it was trained with, and on the rows written so far."""
        return Training(configuration, lanes, self._rows, self._hash.hexdigest())

    def close(self) -> None:
        """Flush and close everything."""
        self._file.close()
        if self._events is not None:
            self._events.close()
        if self._wandb is not None:
            self._wandb.finish()

    def __enter__(self) -> "RunLog":
        """Return the log."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()


def read_metrics(path: str | Path) -> list[dict[str, float | None]]:
    """Rows of a ``metrics.jsonl``, one per update; a last line that is being written, or was torn, is left out.

    Raises :class:`BadInput` for a line that a run cannot have written.
    """
    return [row for *_, row in _whole_rows(Path(path))]


class Progress:
    """A bar and a live line with speed and time left in a terminal, plain lines elsewhere.

    The first chunk may compile: its seconds are shown, but not counted in speed and time left.
    """

    def __init__(
        self,
        n_updates: int,
        steps_per_update: int,
        start: int = 0,
        verbose: bool = True,
        console: Console | None = None,
    ) -> None:
        self._total, self._steps_per_update = n_updates, steps_per_update
        self._console = console or standard_console()
        self._verbose = verbose
        self._live = Live(console=self._console, auto_refresh=False) if self._console.is_terminal and verbose else None
        self._opened = time.perf_counter()
        self._start = start
        self._warm: tuple[float, int] | None = None  # time and update at which the compiling chunk ended

    def advance(self, update: int, metrics: Mapping[str, float]) -> None:
        """Show the number of updates done, with a few named numbers."""
        now = time.perf_counter()
        if self._warm is None:
            self._warm = (now, update)
        line = self._line(now, update, metrics)
        if self._live is not None:
            shown = Table.grid(padding=(0, 1))
            bar = ProgressBar(total=self._total, completed=update, width=_BAR_WIDTH)
            shown.add_row(bar, Text(line, no_wrap=True, overflow="ellipsis"))
            self._live.update(shown, refresh=True)
        elif self._verbose:
            self._console.print(line)

    def steps_per_second(self, update: int) -> float | None:
        """Environment steps per second since the compiling chunk; None while there is only that."""
        if self._warm is None or update <= self._warm[1]:
            return None
        return (update - self._warm[1]) * self._steps_per_update / (time.perf_counter() - self._warm[0])

    def _line(self, now: float, update: int, metrics: Mapping[str, float]) -> str:
        parts = [f"update {update}/{self._total}", f"{update * self._steps_per_update:,} steps"]
        speed = self.steps_per_second(update)
        if speed is None:
            parts.append(f"first chunk: {duration(now - self._opened)}")
        else:
            left = (self._total - update) * self._steps_per_update / speed
            parts += [f"{speed:,.0f} steps/s", f"ETA {duration(left)}"]
        return " | ".join(parts + [f"{name} {_number(value)}" for name, value in metrics.items()])

    def __enter__(self) -> "Progress":
        """Start the live line."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last line standing."""
        if self._live is not None:
            self._live.stop()


def closing_table(
    title: str, rows: Sequence[tuple[str, float | str | None, str]], console: Console | None = None
) -> None:
    """Print rows of (name, value, unit or meaning)."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(style="dim")
    for name, value, meaning in rows:
        table.add_row(name, value if isinstance(value, str) else _number(value), meaning)
    (console or standard_console()).print(table)


def duration(seconds: float) -> str:
    """Seconds as a person reads them: 45s, 3m 20s, 2h 05m."""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"


def standard_console() -> Console:
    """Standard output; where it is no terminal, wide enough that no line of ours wraps."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_FILE_WIDTH)


def _number(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    magnitude = abs(value)
    if magnitude and (magnitude < 1e-3 or magnitude >= 1e6):
        return f"{value:.2e}"
    return f"{value:,.{0 if magnitude >= 1e4 else 1 if magnitude >= 100 else 3}f}"


def _finite(value: Any) -> float | None:
    number = math.nan if value is None else float(value)
    return number if math.isfinite(number) else None


def _whole_rows(path: Path) -> Iterator[tuple[int, int, dict[str, float | None]]]:
    """Bytes, update and content of each whole line; a line longer than any run writes is not read to its end."""
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(_MAX_LINE), b""), start=1):
            if not line.endswith(b"\n") and len(line) < _MAX_LINE:
                return
            try:
                row = json.loads(line)
                update = int(row["update"])
                for value in row.values():
                    math.isfinite(0.0 if value is None else value)  # raises if it is no number, or too large
            except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
                raise BadInput(f"{path}: line {number} is not the metrics of an update") from None
            yield len(line), update, row


def curves_up_to(path: Path, update: int, n_lanes: int = 0) -> CurvesFile:
    """The rows up to ``update``: one of every update from 1, or of every lane of it, in order.

    Raises :class:`BadInput` where a row is missing, repeated or out of place; the rows behind them may be any.
    """
    lanes = [None] if n_lanes == 0 else list(range(n_lanes))
    wanted = [(done, lane) for done in range(1, update + 1) for lane in lanes]
    found = [] if not path.exists() else [(size, done, row.get("lane")) for size, done, row in _whole_rows(path)]
    for number, (expected, (_, *place)) in enumerate(zip(wanted, found, strict=False), start=1):
        if tuple(place) != expected:
            of_lane = "" if expected[1] is None else f" of lane {expected[1]}"
            raise BadInput(f"{path}: line {number} is not update {expected[0]}{of_lane}, which belongs there")
    if len(found) < len(wanted):
        raise BadInput(f"{path}: holds {len(found)} rows; the checkpoint of update {update} has {len(wanted)}")
    size = sum(n_bytes for n_bytes, *_ in found[: len(wanted)])
    return CurvesFile(len(wanted), size, _digest(path, size).hexdigest())


def _digest(path: Path, size: int) -> Any:
    """SHA-256 of the first ``size`` bytes of a file, to be continued."""
    digest = hashlib.sha256()
    if size:
        with path.open("rb") as file:
            while size and (block := file.read(min(size, _MAX_LINE))):
                digest.update(block)
                size -= len(block)
    return digest


def _cut_after(path: Path, update: int, n_lanes: int) -> tuple[int, Any]:
    """Truncate to the rows of updates up to ``update``; returns their number and their hash, to be continued."""
    curves = curves_up_to(path, update, n_lanes)
    if path.exists():
        os.truncate(path, curves.size)
    return curves.rows, _digest(path, curves.size)


def _open_wandb(run: Run) -> Any:
    """A W&B run in the workdir; a resumed run continues under the same name."""
    import wandb

    settings = run.experiment.run
    name = run.path / "wandb_id"
    if not name.exists():
        write_atomically(name, uuid.uuid4().hex[:8].encode())
    return wandb.init(
        project=settings.wandb_project,
        name=settings.exp_name,
        id=untrusted.read_text(name),
        config=run.config.to_dict(),
        dir=str(run.path),
        resume="allow",
    )
