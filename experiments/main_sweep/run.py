"""The main sweep in pieces: lambda from 0 to 32 for one seed, one start and one source of leakage at a time.

    python experiments/main_sweep/run.py --sources exact --starts loud quiet --seeds 0 1
    python experiments/main_sweep/run.py --sources exact --seeds 0 1 --longer=160
    python experiments/main_sweep/report.py

The debug market. A piece is one sweep over all penalties, in which the trader pays for what leaks (``exact``) or for
what MINE claims (``mine``) and begins near "all at once" (``loud``) or as the mimic (``quiet``). A lane depends on its
seed and its settings alone, so pieces together are what one sweep of them all would be. The rows of a piece go to
``lanes.csv`` and what it ran with to ``pieces.json`` as soon as it is measured; pieces that stand there are passed
over, and an interrupted one is continued by the same command. A lane takes forty updates; with ``--longer`` the
lowest penalties, at which that is too few (``experiments/convergence``), are run again for so many.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from amarl_jax import config as configuration

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # pieces.py lies beside this folder
import pieces  # noqa: E402

BASE = "configs/lambda_sweep.py:fast"
PENALTIES = {"sweep.lambda_max": 32.0, "sweep.n_lambdas": 18, "sweep.points_per_octave": 1.5}  # 0, 0.02, ..., 32
# 0, and where a jump may be, twice as densely: 0.125, 0.157, 0.198, 0.25, 0.315
LOWEST = {
    "sweep.lambda_max": 32.0 * 2.0 ** (-10 / 1.5),
    "sweep.n_lambdas": 6,
    "sweep.points_per_octave": 3.0,
}
SOURCES = {  # what the trader pays for, and what the maker's belief is fitted to
    "exact": {"agents.execution.leakage_source": "exact", "networks.belief_transformer.target": "exact"},
    "mine": {"agents.execution.leakage_source": "mine", "networks.belief_transformer.target": "label"},
}
STARTS = {  # share of the steps in which the first policy acts, and of those along its side
    "loud": {"agents.execution.start_gate": 0.9, "agents.execution.start_along": 0.98},
    "quiet": {"agents.execution.start_gate": 0.2, "agents.execution.start_along": 0.5},
}


@dataclasses.dataclass(frozen=True)
class Piece:
    """All penalties of one source, start and seed, or those up to 0.315 for a number of updates of their own."""

    source: str
    start: str
    seed: int
    longer: int | None = None  # updates

    @property
    def arm(self) -> str:
        """Name in the table's column "arm"."""
        return f"{self.source}, {self.start}" + (f", {self.longer} updates" if self.longer else "")

    def __str__(self) -> str:
        return f"{self.source}_{self.start}_{self.seed}" + (f"_{self.longer}_updates" if self.longer else "")


def config_of(piece: Piece, n_updates: int, changes: dict[str, Any]) -> Any:
    """The configuration of a piece's sweep; ``changes`` overrules."""
    own = {
        **(LOWEST if piece.longer else PENALTIES),
        **SOURCES[piece.source],
        **STARTS[piece.start],
        "seed": piece.seed,
        "sweep.n_seeds": 1,
        "training.total_timesteps": (piece.longer or n_updates) * pieces.STEPS_PER_UPDATE,
        "eval_episodes": 1024,
        "exact.n_episodes": 1024,
        "exact.n_particles": 64,
        "exact.n_private": 16,
        "logging.use_tensorboard": False,
        "exp_name": f"main_sweep_{piece}",
    }
    return configuration.load(BASE, own | changes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", nargs="+", choices=list(SOURCES), default=list(SOURCES))
    parser.add_argument("--starts", nargs="+", choices=list(STARTS), default=list(STARTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(8)))
    parser.add_argument("--n_updates", type=int, default=40)
    parser.add_argument("--longer", type=int, help="updates, of the lowest penalties alone")
    parser.add_argument("--changes", default="{}", help="settings that overrule, as JSON")
    parser.add_argument("--workdir", type=Path, default=Path("runs/main_sweep"))
    parser.add_argument("--output", type=Path, default=HERE, help="folder of lanes.csv and pieces.json")
    given = parser.parse_args()
    for seed in given.seeds:
        for source in given.sources:
            for start in given.starts:
                piece = Piece(source, start, seed, given.longer)
                if str(piece) not in pieces.read_pieces(given.output):
                    print(f"== {piece}", flush=True)
                    config = config_of(piece, given.n_updates, json.loads(given.changes))
                    pieces.run(piece, config, given.workdir / str(piece), given.output)


if __name__ == "__main__":
    main()
