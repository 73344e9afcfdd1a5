"""The measured phase diagram in pieces: lambda by leverage, with and without a private coin, and a capped child size.

    python experiments/phase_diagram/run.py --dry_run
    python experiments/phase_diagram/run.py --parents 80 10 --starts loud
    python experiments/phase_diagram/run.py --parents 80 --caps off --fine
    python experiments/phase_diagram/report.py

The debug market with a parent order of 10, 20, 40 or 80 lots, charged for what leaks. The largest child order is the
parent order, at least 20 lots, so that it can be sent at once; in the arm ``capped`` it is 10 lots, a size that noise
sends about every other episode. Noise orders keep their mean and standard deviation, and have the same largest size.
The coin is the private number in the trader's observation, without which it cannot mix loud and quiet episodes. A piece
is one sweep over the penalties; those that stand in ``pieces.json`` are passed over, an interrupted one is continued by
the same command, and the most telling come first. With ``--fine`` the penalties are 0, 1, 1.19, 1.41 and 1.68, between
which the theory's jump lies at the two largest leverages, and the octaves leave a gap.

First policies draw their sizes as noise does, in every market, so ``quiet`` is nearly the mimic in each; ``loud`` is a
trader that hurries with orders of 5 lots.
"""

import argparse
import dataclasses
import itertools
import json
import sys
from pathlib import Path
from typing import Any

from amarl_jax import config as configuration

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # pieces.py lies beside this folder
import pieces  # noqa: E402

BASE = "configs/lambda_sweep.py:fast"
PENALTIES = {"sweep.lambda_max": 8.0, "sweep.n_lambdas": 9, "sweep.points_per_octave": 1.0}  # 0, 1/16, 1/8, ..., 8
FINE_PENALTIES = {"sweep.lambda_max": 2.0**0.75, "sweep.n_lambdas": 5, "sweep.points_per_octave": 4.0}
FINE = ", fine"  # ends the name of an arm with these
PARENTS = (80, 10, 40, 20)  # lots: the most leverage first, then the least
LARGEST_CHILD = 20  # lots, of the debug market, where the parent order is no larger
CAP = 10  # lots: of orders of 5 ± 2 lots bounded by it, noise sends 0.6 an episode that are as large
SOURCE = {"agents.execution.leakage_source": "exact", "networks.belief_transformer.target": "exact"}
STARTS = {  # share of the steps in which the first policy acts, and of those along its side
    "loud": {"agents.execution.start_gate": 0.9, "agents.execution.start_along": 0.98},
    "quiet": {"agents.execution.start_gate": 0.2, "agents.execution.start_along": 0.5},
}
SWITCH = ("off", "on")


@dataclasses.dataclass(frozen=True)
class Piece:
    """All penalties of one arm and seed, by octaves or those of the finer grid."""

    parent: int  # lots of the parent order
    coin: str  # "on": the trader has a private number; "off": it reads 0
    cap: str  # "on": child orders of at most CAP lots
    start: str  # first policy, "loud" or "quiet"
    seed: int
    fine: bool = False  # the finer grid

    @property
    def market(self) -> str:
        """Name of what both starts share."""
        return f"{self.parent} lots, coin {self.coin}{', capped' if self.cap == 'on' else ''}"

    @property
    def arm(self) -> str:
        """Name in the table's column "arm"."""
        return f"{self.market}, {self.start}{FINE if self.fine else ''}"

    def __str__(self) -> str:
        capped = "_capped" if self.cap == "on" else ""
        return f"{self.parent}_coin_{self.coin}{capped}_{self.start}_{self.seed}{'_fine' if self.fine else ''}"

    @property
    def largest_child(self) -> int:
        """Lots of the largest child order, and of the largest noise order."""
        return CAP if self.cap == "on" else max(self.parent, LARGEST_CHILD)

    @property
    def rank(self) -> int:
        """Place in the order of runs: quiet starts and caps come after loud starts of the extreme leverages."""
        return PARENTS.index(self.parent) + 2 * (self.cap == "on") + 2 * (self.start == "quiet")


def every_piece(seeds: list[int], fine: bool = False) -> list[Piece]:
    """All pieces, the most telling first: the theory's jump is without a coin, at the largest leverage."""
    arms = itertools.product(seeds, PARENTS, SWITCH, SWITCH, STARTS)
    found = [Piece(parent, coin, cap, start, seed, fine) for seed, parent, cap, coin, start in arms]
    return sorted(found, key=lambda piece: (seeds.index(piece.seed), piece.rank))


def config_of(piece: Piece, n_updates: int, changes: dict[str, Any]) -> Any:
    """The configuration of a piece's sweep; ``changes`` overrules."""
    own = {
        **(FINE_PENALTIES if piece.fine else PENALTIES),
        **SOURCE,
        **STARTS[piece.start],
        "agents.execution.inventory_lots": piece.parent,
        "agents.execution.max_order_size": piece.largest_child,
        "agents.execution.private_randomiser": piece.coin == "on",
        "seed": piece.seed,
        "sweep.n_seeds": 1,
        "training.total_timesteps": n_updates * pieces.STEPS_PER_UPDATE,
        "eval_episodes": 1024,
        "exact.n_episodes": 1024,
        "exact.n_particles": 64,
        "exact.n_private": 16,
        "logging.use_tensorboard": False,
        "exp_name": f"phase_diagram_{piece}",
    }
    return configuration.load(BASE, own | changes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parents", nargs="+", type=int, choices=PARENTS, default=list(PARENTS))
    parser.add_argument("--coins", nargs="+", choices=SWITCH, default=list(SWITCH))
    parser.add_argument("--caps", nargs="+", choices=SWITCH, default=list(SWITCH))
    parser.add_argument("--starts", nargs="+", choices=list(STARTS), default=list(STARTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--fine", action="store_true", help="the finer grid of penalties, 1 to 1.68")
    parser.add_argument("--n_updates", type=int, default=40)
    parser.add_argument("--changes", default="{}", help="settings that overrule, as JSON")
    parser.add_argument("--workdir", type=Path, default=Path("runs/phase_diagram"))
    parser.add_argument("--output", type=Path, default=HERE, help="folder of lanes.csv and pieces.json")
    parser.add_argument("--dry_run", action="store_true", help="print the pieces in their order and run none")
    given = parser.parse_args()
    for piece in every_piece(given.seeds, given.fine):
        asked = (piece.parent in given.parents, piece.coin in given.coins, piece.cap in given.caps)
        done = str(piece) in pieces.read_pieces(given.output)
        if not all(asked) or piece.start not in given.starts or done:
            continue
        print(f"== {piece}", flush=True)
        if not given.dry_run:
            config = config_of(piece, given.n_updates, json.loads(given.changes))
            pieces.run(piece, config, given.workdir / str(piece), given.output)


if __name__ == "__main__":
    main()
