"""The sweep in larger markets, in pieces: five penalties for one market and seed at a time.

    python experiments/larger_markets/run.py --markets lean
    python experiments/larger_markets/run.py --markets default --seeds 0
    python experiments/larger_markets/report.py

``lean`` is the market of ``configs/lambda_sweep.py`` (390 steps, 50 lots) with the debug networks, ``default`` that of
``configs/default.py`` (390 steps, 100 lots) with the full ones. The trader pays for what leaks and begins near "all at
once". A lane plays some two million steps, in updates of 32 environments: with 128, as the default has, so many steps
would be eight updates. Rows go to ``lanes.csv`` and what a piece ran with to ``pieces.json`` as soon as it is
measured; pieces that stand there are passed over, and an interrupted one is continued by the same command.
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

BASES = {"lean": "configs/lambda_sweep.py", "default": "configs/default.py"}
DEBUG_NETWORKS = ("networks.",)  # settings that the lean market takes from fast_debug, but for the belief's window
DEBUG_TRAINING = ("lr_actor", "lr_belief", "lr_mine", "n_epochs", "n_belief_steps", "n_mine_steps", "replay_batch")
PENALTIES = {"sweep.lambda_max": 16.0, "sweep.n_lambdas": 5, "sweep.points_per_octave": 0.5}  # 0, 1/4, 1, 4, 16
COMMON = {
    "agents.execution.leakage_source": "exact",
    "agents.execution.mu_predictability": 0.0,
    "agents.execution.start_gate": 0.9,
    "agents.execution.start_along": 0.98,
    "networks.belief_transformer.target": "exact",
    "training.n_envs": 32,
    "training.n_minibatches": 2,
    "sweep.n_seeds": 1,
    "eval_episodes": 1024,
    "exact.n_episodes": 512,
    "exact.n_particles": 64,
    "exact.n_private": 16,
    "logging.use_tensorboard": False,
}


@dataclasses.dataclass(frozen=True)
class Piece:
    """All penalties of one market and seed."""

    market: str
    seed: int

    @property
    def arm(self) -> str:
        """Name in the table's column "arm"."""
        return self.market

    def __str__(self) -> str:
        return f"{self.market}_{self.seed}"


def config_of(piece: Piece, n_updates: int, changes: dict[str, Any]) -> Any:
    """The configuration of a piece's sweep; ``changes`` overrules."""
    own = PENALTIES | COMMON | {"seed": piece.seed, "exp_name": f"larger_markets_{piece}"}
    if piece.market == "lean":
        debug = configuration.flatten(configuration.load("configs/fast_debug.py"))
        names = [name for name in debug if name.startswith(DEBUG_NETWORKS)]
        names.remove("networks.belief_transformer.max_seq_len")
        names += [f"training.{name}" for name in DEBUG_TRAINING]
        own = {name: debug[name] for name in names} | own
    phases = ("exec_phase_steps", "mm_arb_phase_steps")
    two_episodes = {f"training.alternating.{phase}": 2 * 390 for phase in phases}
    config = configuration.load(BASES[piece.market], own | two_episodes | changes)
    steps = configuration.resolve(config).game.steps_per_update()
    config.training.total_timesteps = n_updates * steps
    return config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markets", nargs="+", choices=list(BASES), default=list(BASES))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(4)))
    parser.add_argument("--n_updates", type=int, default=40)
    parser.add_argument("--changes", default="{}", help="settings that overrule, as JSON")
    parser.add_argument("--workdir", type=Path, default=Path("runs/larger_markets"))
    parser.add_argument("--output", type=Path, default=HERE, help="folder of lanes.csv and pieces.json")
    given = parser.parse_args()
    for market in given.markets:
        for seed in given.seeds:
            piece = Piece(market, seed)
            if str(piece) not in pieces.read_pieces(given.output):
                print(f"== {piece}", flush=True)
                config = config_of(piece, given.n_updates, json.loads(given.changes))
                pieces.run(piece, config, given.workdir / str(piece), given.output)


if __name__ == "__main__":
    main()
