"""Adversarial market microstructure as multi-agent reinforcement learning, end to end in JAX."""

import os
import sys
from typing import Any

__version__ = "0.1.0"


def _start_jax() -> None:
    """As one of our commands, end in one line where JAX takes offence at an environment variable.

    It reads them while it is imported, which the modules of the commands do before any code of theirs runs.
    """
    try:
        import jax  # noqa: F401
    except ValueError as error:
        print(f"error: JAX does not start: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from None


_started_as = sys.argv[0] if getattr(sys, "argv", None) else ""
if _started_as == "-m" or os.path.basename(_started_as).startswith("amarl-"):  # -m while Python looks for the module
    _start_jax()


def __getattr__(name: str) -> Any:
    """``load_policy``, when it is first asked for: importing the package stays light."""
    if name == "load_policy":
        from amarl_jax.evaluation.trained_policy import load_policy

        return load_policy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
