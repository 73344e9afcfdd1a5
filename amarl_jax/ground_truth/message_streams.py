"""Random streams of messages to a book, with every kind of fault in them; NumPy."""

from dataclasses import dataclass

import numpy as np

from amarl_jax.lob.book import MessageKind

N_OWNERS = 3
FIELDS = ("kind", "side", "price", "quantity", "order_id", "owner", "expiry")
INT32 = np.iinfo(np.int32)


@dataclass(frozen=True)
class Mix:
    """Parameters of a random stream."""

    weights: tuple[float, ...]  # of padding, limit, market, immediate-or-cancel, cancel, and two unknown kinds
    width: int  # prices are uniform in -width .. width,
    improvement: int  # less this much for buys and more for sells: 0 or below makes orders meet
    buys: float  # probability of a buy
    largest: int  # lots
    odd: float  # probability that a field holds an extreme or impossible value
    reach: int  # how many messages back a cancel looks for its order


def random_mix(rng: np.random.Generator) -> Mix:
    """Draw a mix: books that stay thin or fill up, one-sided or balanced."""
    return Mix(
        weights=tuple(rng.dirichlet([0.2, 6, rng.choice([0.1, 2]), 1, rng.choice([0.5, 4]), 0.1, 0.1])),
        width=rng.choice([0, 1, 4, 30]),
        improvement=rng.choice([0, 2]),
        buys=rng.choice([0.03, 0.5, 0.5, 0.97]),
        largest=rng.choice([2, 11, 59]),
        odd=0.04,
        reach=12,
    )


def random_stream(
    rng: np.random.Generator, mix: Mix, shape: tuple[int, ...], first_id: int = 0
) -> dict[str, np.ndarray]:
    """Draw streams of one mix, an array of ``shape`` [..., n_messages] by field; ids count from ``first_id``."""

    def sometimes(chance: float) -> np.ndarray:
        return rng.random(shape) < chance

    kind = rng.choice([*MessageKind, 7, -1], shape, p=mix.weights)
    side = np.where(sometimes(mix.buys), 1, -1)
    side = np.where(sometimes(mix.odd / 2), rng.choice([0, 2, -2, INT32.min], shape), side)
    price = rng.integers(-mix.width, mix.width + 1, shape) - side * mix.improvement
    extremes = [1 << 15, -(1 << 15), (1 << 15) + 1, -(1 << 15) - 1, INT32.max, INT32.min]
    price = np.where(sometimes(mix.odd), rng.choice(extremes, shape), price)
    quantity = rng.integers(1, mix.largest + 1, shape)
    odd_sizes = [0, -3, 1 << 15, (1 << 15) + 1, INT32.max, INT32.min]
    quantity = np.where(sometimes(mix.odd), rng.choice(odd_sizes, shape), quantity)
    quantity = np.where((kind == MessageKind.CANCEL) & sometimes(0.5), 0, quantity)
    index = np.broadcast_to(np.arange(shape[-1]), shape)
    earlier = np.maximum(index - rng.integers(1, mix.reach, shape), -1)  # -1 serves as an unknown id
    again = (kind == MessageKind.CANCEL) | sometimes(1.5 * mix.odd)
    owner = rng.integers(0, N_OWNERS, shape)
    return {
        "kind": kind,
        "side": side,
        "price": price,
        "quantity": quantity,
        "order_id": np.where(again, earlier, index) + first_id,
        "owner": np.where(sometimes(mix.odd / 4), rng.choice([-1, N_OWNERS], shape), owner),
        "expiry": rng.integers(0, 50, shape),
    }
