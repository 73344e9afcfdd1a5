"""Metrics of a run for TensorBoard and W&B, grouped by subject, and event files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams

MOST_LANES = 128  # the first ones of a sweep: each takes a file and a thread, and more are unreadable in a chart
BESIDE_SETTINGS = (  # metrics in the table of runs
    *("held_out/execution/shortfall_ticks", "held_out/execution/completion"),
    *("held_out/information/exact_nats", "held_out/information/fresh_nats", "held_out/information/belief_accuracy"),
)

_OF_LEARNING = ("loss", "surrogate", "entropy", "approx_kl", "clip_fraction")
_OF_THE_CLOCK = ("env_steps", "wall_seconds", "wall_steps_per_second")
_MOVED = {"belief": "information/belief", "objective": "execution/objective"}


def grouped(name: str) -> str:
    """The name of a metric with its group first and its phase last, as ``execution/shortfall/phase_a``.

    Both tools draw one section per first part of a name.
    """
    if name in _OF_THE_CLOCK:
        return f"speed/{name}"
    phase, _, rest = name.partition("/")
    if phase == "finite":
        return f"losses/{name}"
    if not phase.startswith("phase_") and phase != "joint":
        return _MOVED.get(name, name)
    group, _, quantity = rest.partition("/")
    if quantity in _OF_LEARNING:
        return f"losses/{rest}/{phase}"
    return f"{_MOVED.get(group, group)}/{quantity}/{phase}"


class Events:
    """Scalars under a folder: those of lane i of a sweep under ``lane_<i>``, so that TensorBoard shows it as a run.

    Events of updates from ``first`` on that another process left there are about to be made again, and purged.
    """

    def __init__(self, folder: Path, first: int = 0) -> None:
        self._folder, self._first = folder, first
        self._writers: dict[float | None, SummaryWriter] = {}

    def write(self, update: int, numbers: Mapping[str, float]) -> None:
        """One update's scalars by name; the number named ``lane``, if there is one, says which lane they are of."""
        lane = numbers.get("lane")
        if lane is not None and lane >= MOST_LANES:
            return
        writer = self._writer(lane)
        for name, value in numbers.items():
            if name != "lane":
                writer.add_scalar(grouped(name), value, update)

    def hyperparameters(
        self, settings: Mapping[str, Any], measured: Sequence[str] = BESIDE_SETTINGS, lane: int | None = None
    ) -> None:
        """The settings of a run or lane by name, for the table of runs; ``measured`` are scalars shown beside them."""
        if lane is not None and lane >= MOST_LANES:
            return
        plain = {name: x if isinstance(x, bool | int | float | str) else str(x) for name, x in settings.items()}
        for part in hparams(plain, dict.fromkeys(measured, 0.0)):
            self._writer(lane).file_writer.add_summary(part)

    def picture(self, update: int, name: str, path: Path) -> None:
        """Show a PNG file."""
        from matplotlib.image import imread  # takes a second to import

        pixels = (255 * imread(path)).astype(np.uint8)
        self._writer(None).add_image(name, pixels, update, dataformats="HWC")

    def _writer(self, lane: float | None) -> SummaryWriter:
        if lane not in self._writers:
            folder = self._folder if lane is None else self._folder / f"lane_{int(lane)}"
            self._writers[lane] = SummaryWriter(str(folder), purge_step=self._first)
        return self._writers[lane]

    def close(self) -> None:
        """Flush and close everything."""
        for writer in self._writers.values():
            writer.close()
