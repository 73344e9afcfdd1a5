"""A trained policy as a pure function, read from a workdir."""

import dataclasses
import functools
from pathlib import Path

import jax.numpy as jnp

from amarl_jax.errors import BadInput
from amarl_jax.evaluation import frozen_run as runs
from amarl_jax.market.params import EnvParams
from amarl_jax.policies.action_box import encode
from amarl_jax.policies.learned import Learned, learned_policy, observation_sizes
from amarl_jax.policies.tilted import Tilted
from amarl_jax.types import AGENT_NAMES, Agent, Array

UNITS = ("public", "box")


@dataclasses.dataclass(frozen=True)
class TrainedPolicy:
    """``policy(key, observation) -> action``: pure, for ``jit`` and ``vmap``; can be pickled.

    ``observation`` is one agent's features [D] (:mod:`amarl_jax.market.observe`). The action is in public units,
    execution [3], maker [4], arbitrageur []; or of the box ``[-1, 1]^n`` that the adapters take, execution [4],
    maker [4], arbitrageur [1], and sends the same orders (:mod:`amarl_jax.policies.action_box`).

    Attributes:
        policy: the same as a :class:`~amarl_jax.policies.protocol.Policy`, which decides on a view.
        params: the market constants it was trained with.
        units: of the action, "public" or "box".
    """

    policy: Learned | Tilted
    params: EnvParams
    units: str = "public"

    def __repr__(self) -> str:
        return f"TrainedPolicy({Agent(self.policy.agent).name.lower()}, {self.units} units)"

    @functools.cached_property
    def observation_size(self) -> int:
        """Number of features, D."""
        return observation_sizes(self.policy.spec, self.params)[self.policy.agent]

    def __call__(self, key: Array, observation: Array) -> Array:
        """The action of one observation; raises ValueError if it has another shape."""
        agent = self.policy.agent
        if jnp.shape(observation) != (self.observation_size,):
            raise ValueError(
                f"observation of {AGENT_NAMES[agent]!r}: must be ({self.observation_size},), as of MarketEnv(..., "
                f"homogeneous=False), has the shape {jnp.shape(observation)}; vmap takes a batch"
            )
        action = self.policy.decide(key, observation, self.params).action
        return action if self.units == "public" else encode(agent, action, self.params, self.policy.spec)


def load_policy(
    workdir: str | Path,
    agent: str = "execution",
    lane: int | None = None,
    deterministic: bool = False,
    units: str = "public",
    best: bool = False,
) -> TrainedPolicy:
    """The latest policy of one agent of the run in ``workdir``, as a pure function.

    Args:
        workdir: of a run, or of a sweep.
        agent: "execution", "maker" or "arbitrageur".
        lane: of a sweep, from 0.
        deterministic: play the mode of its distribution; the key is then not used.
        units: of its actions: "public", or "box" for the adapters.
        best: of a run, the checkpoint with the largest objective instead of the latest.

    Raises:
        BadInput: no such agent or units, or the workdir holds nothing that can be loaded.
    """
    if agent not in AGENT_NAMES:
        raise BadInput(f"agent = {agent!r}: must be one of {', '.join(AGENT_NAMES)}")
    if units not in UNITS:
        raise BadInput(f"units = {units!r}: must be one of {', '.join(UNITS)}")
    run, seat = runs.load(workdir, lane, best), Agent(AGENT_NAMES.index(agent))
    parameters, game = run.state.agents[seat].params, run.setup.game
    policy = learned_policy(seat, parameters, game.network, game.market_spec, deterministic, game.noise_law)
    return TrainedPolicy(policy, run.setup.params, units)
