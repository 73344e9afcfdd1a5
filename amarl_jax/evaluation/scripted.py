"""Measures of a user's own execution policies, made as for a trained one: cost, completion, exact information."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from amarl_jax.evaluation.episodes import Batch, EpisodeSummary, fresh_episodes, summarise
from amarl_jax.evaluation.exact_reading import exact_reading
from amarl_jax.evaluation.metrics import MetricValue, Scale, evaluate_summaries
from amarl_jax.learn.players import Players, PriorBelief
from amarl_jax.learn.rollout import Trajectory
from amarl_jax.market.env import Market
from amarl_jax.market.noise import NoiseLaw, orders
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.policies.baselines import choice
from amarl_jax.policies.constant_spread import ConstantSpread
from amarl_jax.policies.protocol import Policy
from amarl_jax.policies.value_rule import ValueRule
from amarl_jax.posterior.exact import ExactRow, ExactSpec, why_unread
from amarl_jax.trees import as_arrays
from amarl_jax.types import Array


class PolicyMeasures(NamedTuple):
    """Fresh episodes of a policy, and what was measured on them."""

    metrics: dict[str, MetricValue]  # by the names of docs/metrics.md
    episodes: EpisodeSummary  # [n] host arrays
    unread: str  # why there is no exact information; empty where there is

    def __repr__(self) -> str:
        return f"PolicyMeasures({len(self.metrics)} metrics of {len(self.episodes.z)} episodes)"


def measure_policies(
    key: Array,
    policies: Mapping[str, Policy],
    spec: MarketSpec,
    params: EnvParams,
    *,
    n_episodes: int = 1024,
    batch: int = 256,
    maker: Policy | None = None,
    arbitrageur: Policy | None = None,
    noise_law: NoiseLaw = orders,
    exact: ExactSpec | None = None,
) -> dict[str, PolicyMeasures]:
    """Measure execution policies in the same market, against the same others, under the same random keys.

    All are played by one program. Information is exact where every policy states its law; a detector trained from
    scratch shows how much of it can be found.

    Args:
        key: typed key.
        policies: by name; each for the seat of the execution agent.
        spec: market sizes.
        params: market constants.
        n_episodes: of each policy, both classes together, rounded up to whole batches.
        batch: episodes side by side.
        maker: default a constant spread.
        arbitrageur: default one that trades on V beyond the quotes.
        noise_law: of the market.
        exact: how many episodes are read exactly, and how; default :class:`amarl_jax.posterior.exact.ExactSpec`.

    Returns:
        The measures, by name.
    """

    @jax.jit
    def play(key: Array, which: Array, params: EnvParams) -> tuple[EpisodeSummary, ExactRow | None]:
        chosen = choice(policies, which)
        players = Players(chosen, maker or ConstantSpread(), arbitrageur or ValueRule())
        reader = exact_reading(Market(spec, noise_law), chosen, exact or ExactSpec(), n_episodes, batch)

        def read(trajectories: Trajectory, number: Batch) -> tuple[EpisodeSummary, ExactRow | None]:
            summaries = jax.vmap(lambda one: summarise(one, params))(trajectories)
            return summaries, reader.read(trajectories, number, params)

        rows, found = fresh_episodes(key, reader.market, players, PriorBelief(), params, n_episodes, batch, read)
        return rows, reader.only_read(found)

    key_play, key_detector = jax.random.split(key)
    scale, params = Scale.of(params, spec), as_arrays(params)
    unread = why_unread(choice(policies, jnp.int32(0)), noise_law)
    measured = {}
    for i, name in enumerate(policies):
        episodes, found = jax.tree.map(np.asarray, play(jax.random.clone(key_play), jnp.int32(i), params))
        evaluation = evaluate_summaries(jax.random.clone(key_detector), episodes, scale, found)
        measured[name] = PolicyMeasures(evaluation.metrics, episodes, unread)
    return measured
