"""TensorBoard events of a run, or of each lane of a sweep as a run of its own."""

from collections.abc import Mapping
from pathlib import Path

from tensorboardX import SummaryWriter

MOST_LANES = 128  # of a sweep, the first ones: each takes a file and a thread, and more make no chart that one can read


class Events:
    """Scalars under a folder: those of lane i of a sweep under ``lane_<i>``, so that TensorBoard shows it as a run.

    Events of updates from ``first`` on that another process left there are about to be made again, and purged.
    """

    def __init__(self, folder: Path, first: int = 0) -> None:
        self._folder, self._first = folder, first
        self._writers: dict[float | None, SummaryWriter] = {}

    def write(self, update: int, numbers: Mapping[str, float]) -> None:
        """One update's scalars by name; the number named ``lane``, if there is one, says whose they are."""
        lane = numbers.get("lane")
        if lane is not None and lane >= MOST_LANES:
            return
        if lane not in self._writers:
            folder = self._folder if lane is None else self._folder / f"lane_{int(lane)}"
            self._writers[lane] = SummaryWriter(str(folder), purge_step=self._first)
        for name, value in numbers.items():
            if name != "lane":
                self._writers[lane].add_scalar(name, value, update)

    def close(self) -> None:
        """Flush and close everything."""
        for writer in self._writers.values():
            writer.close()
