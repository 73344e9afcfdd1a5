"""Lanes of a sweep that have been measured so far, kept on disk in case it is stopped."""

import json
from pathlib import Path
from typing import Any

from amarl_jax.errors import BadInput
from amarl_jax.host import processes as hosts
from amarl_jax.host import untrusted
from amarl_jax.host.workdir import write_atomically
from amarl_jax.lanes.behaviour import FILLS, N_FILLS
from amarl_jax.lanes.table import WORDS, lane_row

MEASURED_FILE = "measured.json"


class Measured:
    """Rows of measures by lane, kept on disk beside a description of what was measured.

    A file that is damaged, or of other learners, another code or another number of episodes, is ignored: its lanes are
    measured again.
    """

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        self._file, self._about = folder / MEASURED_FILE, about
        self.rows: dict[int, dict[str, Any]] = self._read()

    def keep(self, lane: int, row: dict[str, Any]) -> dict[str, Any]:
        """Save one lane's measures; returns them as they will be read back."""
        self.rows[lane] = json.loads(json.dumps(row, default=float))
        if hosts.is_chief():
            document = {"of": self._about, "rows": {str(i): kept for i, kept in self.rows.items()}}
            write_atomically(self._file, (json.dumps(document) + "\n").encode())
        return self.rows[lane]

    def discard(self) -> None:
        """Remove the file, once its rows are in ``sweep.json``."""
        self._file.unlink(missing_ok=True)

    def _read(self) -> dict[int, dict[str, Any]]:
        try:
            document = untrusted.parse_json(untrusted.read_text(self._file), self._file)
            if document["of"] != self._about:
                return {}
            rows = {int(lane): row for lane, row in document["rows"].items()}
        except (BadInput, TypeError, KeyError, ValueError, AttributeError):
            return {}
        return rows if all(_is_row(row) for row in rows.values()) else {}


def _is_row(row: Any) -> bool:
    """True if a row of the table can be made of it."""
    try:
        values = [value for name, value in lane_row(0, 0.0, 0, row).items() if name not in WORDS]
        counts = row[FILLS]
    except (TypeError, KeyError, AttributeError):
        return False
    numbers = all(value is None or type(value) in (int, float) for value in values)
    return numbers and isinstance(counts, list) and len(counts) == N_FILLS and all(type(x) is int for x in counts)
