"""Adversarial market microstructure as multi-agent reinforcement learning, end to end in JAX.

What a user needs is an attribute of this package, imported when it is first asked for: the modules of the commands
(``train.train``, ``sweep.sweep``, ``evaluate.evaluate``, ``config.load``), and the names of ``__all__`` themselves. A
command's function has its module's name, so the module is what the package offers, never a function in its place.
"""

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amarl_jax import config, evaluate, sweep, train
    from amarl_jax.evaluation.curves import read_curves
    from amarl_jax.evaluation.scripted import measure_policies
    from amarl_jax.evaluation.trained_policy import load_policy
    from amarl_jax.information import EstimateSpec, estimate
    from amarl_jax.information.detector import detect
    from amarl_jax.lanes.table import read_lanes
    from amarl_jax.learn.players import Players, PriorBelief
    from amarl_jax.learn.rollout import rollouts
    from amarl_jax.lob.replay import replay, replay_batch
    from amarl_jax.market.env import Actions, Market
    from amarl_jax.market.params import EnvParams, MarketSpec
    from amarl_jax.policies.protocol import Decision
    from amarl_jax.types import Agent

__version__ = "0.2.0"

__all__ = [
    "Actions",
    "Agent",
    "Decision",
    "EnvParams",
    "EstimateSpec",
    "Market",
    "MarketSpec",
    "Players",
    "PriorBelief",
    "config",
    "detect",
    "estimate",
    "evaluate",
    "load_policy",
    "measure_policies",
    "read_curves",
    "read_lanes",
    "replay",
    "replay_batch",
    "rollouts",
    "sweep",
    "train",
]

_MODULES = ("config", "evaluate", "sweep", "train")
_HOMES = {  # where the others are defined
    "Actions": "market.env",
    "Agent": "types",
    "Decision": "policies.protocol",
    "EnvParams": "market.params",
    "EstimateSpec": "information",
    "Market": "market.env",
    "MarketSpec": "market.params",
    "Players": "learn.players",
    "PriorBelief": "learn.players",
    "detect": "information.detector",
    "estimate": "information",
    "load_policy": "evaluation.trained_policy",
    "measure_policies": "evaluation.scripted",
    "read_curves": "evaluation.curves",
    "read_lanes": "lanes.table",
    "replay": "lob.replay",
    "replay_batch": "lob.replay",
    "rollouts": "learn.rollout",
}


def _start_jax() -> None:
    """Import JAX for one of our commands, and end in one line where it rejects an environment variable.

    JAX reads them while it is imported, which the modules of the commands do before their own code runs.
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
    """Import a name of ``__all__`` when it is first asked for (PEP 562): importing the package stays light."""
    if name in _MODULES:
        return importlib.import_module(f"amarl_jax.{name}")
    if name in _HOMES:
        found = getattr(importlib.import_module(f"amarl_jax.{_HOMES[name]}"), name)
        globals()[name] = found
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Names of the package, those that are not imported yet included."""
    return sorted({*globals(), *__all__})
