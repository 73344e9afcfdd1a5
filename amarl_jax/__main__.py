"""``python -m amarl_jax``: what can be run."""

import sys

from amarl_jax import __version__

COMMANDS = {
    "train": "train the three agents: --config=configs/fast_debug.py --workdir=DIR",
    "sweep": "train a grid of penalties and seeds in one program: --config=configs/lambda_sweep.py --workdir=DIR",
    "evaluate": "measure a run on fresh episodes, beside baselines: --workdir=DIR --n_episodes=1024 --plot",
    "random_play": "play random orders in the market and check its books: --config=configs/fast_debug.py",
    "replay_lobster": "replay LOBSTER files and report agreement: --messages=CSV --orderbook=CSV --output=DIR",
}


def main() -> int:
    """Print the commands."""
    print(f"amarl_jax {__version__}. Commands, each with --help:\n")
    for name, meaning in COMMANDS.items():
        print(f"  python -m amarl_jax.{name:<14} {meaning}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
