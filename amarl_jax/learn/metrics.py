"""Named scalars in one array, so that a loop or a branch carries one array instead of one for each name."""

from collections.abc import Iterator, Mapping, Sequence

import jax.numpy as jnp
from flax import struct

from amarl_jax.types import Array


@struct.dataclass
class Metrics(Mapping[str, Array]):
    """A mapping of scalars, or of arrays [...] where a loop or lanes lead.

    Compile time grows with the number of kernels, and a loop writes each array it collects with a kernel of its own.
    """

    columns: Array  # [..., n] float32
    names: tuple[str, ...] = struct.field(pytree_node=False)  # of the columns

    @classmethod
    def of(cls, scalars: Mapping[str, Array]) -> "Metrics":
        """Pack scalars or arrays of one shape [...] by name; the mapping may be empty."""
        names = tuple(sorted(scalars))
        columns = [jnp.asarray(scalars[name], jnp.float32) for name in names]
        return cls(jnp.stack(columns, axis=-1) if columns else jnp.zeros(0, jnp.float32), names)

    def __or__(self, other: "Metrics") -> "Metrics":
        """Union of both; no name may be in both."""
        both = Metrics(jnp.concatenate([self.columns, other.columns], axis=-1), self.names + other.names)
        return both.chosen(sorted(both.names))

    def chosen(self, names: Sequence[str]) -> "Metrics":
        """Only the metrics of these names, in this order."""
        at = jnp.array([self.names.index(name) for name in names], jnp.int32)
        return Metrics(jnp.take(self.columns, at, axis=-1, unique_indices=True, mode="clip"), tuple(names))

    def renamed(self, prefix: str) -> "Metrics":
        """Copy with ``prefix`` before each name."""
        return Metrics(self.columns, tuple(prefix + name for name in self.names))

    def __getitem__(self, name: str) -> Array:
        """The metric of one name, [...]."""
        try:
            return self.columns[..., self.names.index(name)]
        except ValueError:
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)
