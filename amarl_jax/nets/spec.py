"""Sizes of the networks: static, closed over by the compiled update."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class BeliefSpec:
    """Sizes of the belief Transformer."""

    d_model: int = 128
    n_heads: int = 4
    n_layers: int = 4
    d_ff: int = 256
    max_seq_len: int = 200  # attention window, steps
    cache: str = "float32"  # type of the keys and values that decoding keeps, or "bfloat16"

    def __post_init__(self) -> None:
        """Raise ValueError unless the heads divide the width, which is even to pair sines with cosines."""
        if self.d_model % self.n_heads or self.d_model % 2:
            raise ValueError(f"d_model must be even and a multiple of n_heads, got {self.d_model} and {self.n_heads}")


@dataclasses.dataclass(frozen=True)
class TapeScales:
    """What brings the integers of a tape to order one at the belief's input."""

    price_ticks: float = 5.0  # limit offsets
    size_lots: float = 20.0  # largest order
    value_gap_ticks: float = 10.0  # |W - mid|
    spread_ticks: float = 5.0
    removals: float = 5.0  # per step and side


@dataclasses.dataclass(frozen=True)
class NetworkSpec:
    """Hidden widths of every network."""

    execution_hidden: tuple[int, ...] = (256, 256)
    maker_hidden: tuple[int, ...] = (256, 256)
    arbitrageur_hidden: tuple[int, ...] = (128, 128)
    critic_hidden: tuple[int, ...] = (512, 512, 256)  # trunk, LayerNorm after each layer
    critic_head_hidden: int = 64  # after a_-i is injected
    statistics_hidden: tuple[int, ...] = (256, 256)  # MINE
    predictor_hidden: int = 64  # GRU width
    belief: BeliefSpec = BeliefSpec()
    execution_head: str = "beta"  # or "tilt", of the noise law
    products: str | None = None  # precision of matrix products of policies, critic and MINE; None: that of all else
