"""A trained policy as a pure function, read from a workdir."""

import dataclasses
from pathlib import Path

from amarl_jax.errors import BadInput
from amarl_jax.evaluation import runs
from amarl_jax.learn.game import AGENT_NAMES
from amarl_jax.market.params import EnvParams
from amarl_jax.policies.learned import Learned, learned_policy
from amarl_jax.types import Array


@dataclasses.dataclass(frozen=True)
class TrainedPolicy:
    """``policy(key, observation) -> action``: pure, for ``jit`` and ``vmap``.

    ``observation`` is one agent's features [D] (:mod:`amarl_jax.market.observe`), the action is in public units:
    execution [3], maker [4], arbitrageur [].

    Attributes:
        policy: the same as a :class:`~amarl_jax.policies.protocol.Policy`, which decides on a view.
        params: the market constants it was trained with.
    """

    policy: Learned
    params: EnvParams

    def __call__(self, key: Array, observation: Array) -> Array:
        """The action of one observation."""
        return self.policy.decide(key, observation, self.params).action


def load_policy(
    workdir: str | Path, agent: str = "execution", lane: int | None = None, deterministic: bool = False
) -> TrainedPolicy:
    """The latest policy of one agent of the run in ``workdir``, as a pure function.

    Args:
        workdir: of a run, or of a sweep.
        agent: "execution", "maker" or "arbitrageur".
        lane: of a sweep, from 0.
        deterministic: play the mode of its distribution; the key is then not used.

    Raises:
        BadInput: no such agent, or the workdir holds nothing that can be loaded.
    """
    seats = {name: seat for seat, name in AGENT_NAMES.items()}
    if agent not in seats:
        raise BadInput(f"agent = {agent!r}: must be one of {', '.join(seats)}")
    run = runs.load(workdir, lane)
    parameters, spec = run.state.agents[seats[agent]].params, run.game.market_spec
    policy = learned_policy(seats[agent], parameters, run.game.network, spec, deterministic)
    return TrainedPolicy(policy, run.params)
