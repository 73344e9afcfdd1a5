"""The exact reading of some of an evaluation's fresh episodes, in the program that plays them."""

import dataclasses

import jax

from amarl_jax.evaluation.episodes import Batch
from amarl_jax.learn.rollout import Trajectory
from amarl_jax.market.env import Market
from amarl_jax.market.params import EnvParams
from amarl_jax.policies.protocol import Policy
from amarl_jax.posterior.exact import ExactRow, ExactSpec, nothing_read, read_episodes
from amarl_jax.posterior.filter import Reader, reader_of, what_happened


@dataclasses.dataclass(frozen=True)
class ExactReading:
    """The reader of the first batches; without a reader no order is recorded and nothing is read.

    Attributes:
        market: that plays; it keeps records where there is a reader.
        reader: None for a policy or noise law that does not state its probabilities, or where none was asked for.
        n_batches: that are read.
        batch: episodes in each.
    """

    market: Market
    reader: Reader | None
    n_batches: int
    batch: int

    def read(self, trajectories: Trajectory, batch: Batch, params: EnvParams) -> ExactRow | None:
        """Rows of a batch [E]; placeholders for a batch that is not read.

        The branch stays a real one where lanes are mapped, since they share the number of the batch.
        """
        reader = self.reader
        if reader is None:
            return None
        happened = jax.vmap(what_happened)(
            trajectories.output, trajectories.z, trajectories.direction, trajectories.final.private
        )
        record = trajectories.output.record
        assert record is not None, "a reader's market keeps records"
        n_episodes, horizon = trajectories.belief.shape
        return jax.lax.cond(
            batch.number < self.n_batches,
            lambda: read_episodes(batch.key, record, happened, reader, params),
            lambda: nothing_read(n_episodes, horizon),
        )

    def only_read(self, rows: ExactRow | None) -> ExactRow | None:
        """The rows [n] of all batches without placeholders."""
        return jax.tree.map(lambda x: x[: self.n_batches * self.batch], rows)


def exact_reading(market: Market, policy: Policy, spec: ExactSpec | None, n_episodes: int, batch: int) -> ExactReading:
    """The reading of the first ``spec.n_episodes`` of ``n_episodes``, by a reader that knows the execution policy.

    Args:
        market: whose sizes and noise law are read.
        policy: the execution policy that plays.
        spec: how much is read, None for nothing.
        n_episodes: that are played.
        batch: episodes at a time.
    """
    if spec is None:
        return ExactReading(market, None, 0, batch)
    reader = reader_of(policy, market.noise_law, market.spec, spec.n_particles, spec.n_private)
    reader = reader and dataclasses.replace(reader, sees_removals=spec.sees_removals)
    n_batches = n_batches_read(spec, n_episodes, batch)
    return ExactReading(dataclasses.replace(market, keeps_records=reader is not None), reader, n_batches, batch)


def n_batches_read(spec: ExactSpec, n_episodes: int, batch: int) -> int:
    """Number of batches, the first, that are read of ``n_episodes`` played ``batch`` at a time."""
    return -(-min(spec.n_episodes, n_episodes) // batch)
