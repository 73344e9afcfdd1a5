"""``python -m amarl_jax``: what can be run."""

import sys
from collections.abc import Sequence

from amarl_jax import __version__

COMMANDS = {  # name: what it does, an example
    "train": (
        "train the three agents, close with held-out numbers",
        "--config=configs/fast_debug.py --workdir=runs/first",
    ),
    "sweep": (
        "train a grid of penalties and seeds in one program, locate lambda*",
        "--config=configs/lambda_sweep.py:fast --workdir=runs/sweep",
    ),
    "evaluate": ("measure a run on fresh episodes, beside every baseline", "--workdir=runs/first --plot"),
    "compare": ("draw the learning curves of several runs in one figure", "runs/first runs/second --output=runs/both"),
    "leakage": (
        "measure what your own order flow gives away, from a CSV file",
        "--csv=orders.csv --label=z --episode=day",
    ),
    "random_play": ("play random orders, check that the books balance", "--config=configs/fast_debug.py"),
    "fit_flow": (
        "fit the order flow of a recorded day, for the market to have",
        "--messages=CSV --orderbook=CSV --output=DIR",
    ),
    "replay_lobster": (
        "replay LOBSTER files, report agreement with the recorded books",
        "--messages=CSV --orderbook=CSV --output=DIR",
    ),
}


def console_name(name: str) -> str:
    """What a command is installed as."""
    return f"amarl-{name.replace('_', '-')}"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the commands; a command's name as an argument is a mistake, and the answer says what was meant."""
    arguments = list(sys.argv if argv is None else argv)[1:]
    if arguments and arguments[0] not in ("-h", "--help"):
        name = arguments[0].replace("-", "_")
        meant = f"write python -m amarl_jax.{name}" if name in COMMANDS else "python -m amarl_jax lists the commands"
        print(f"error: {arguments[0]}: {meant}", file=sys.stderr)
        return 2
    print(f"amarl_jax {__version__}. Commands; --help behind one documents it:\n")
    for name, (meaning, example) in COMMANDS.items():
        print(f"python -m amarl_jax.{name}  (or {console_name(name)})\n    {meaning}\n    {example}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
