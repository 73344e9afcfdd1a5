"""Read and check a caller's integer columns by name, and convert them to the engine's int32."""

import dataclasses
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np

from amarl_jax.lob.messages import INT32_MAX, BookSpec

FIELDS = ("kind", "side", "price", "quantity", "order_id", "owner")
INT32_MIN = -(2**31)


@dataclasses.dataclass(frozen=True)
class Numbering:
    """64-bit ids as int32: unchanged if all fit, else replaced by their rank."""

    labels: np.ndarray | None  # sorted; None: ids unchanged

    @classmethod
    def of(cls, *values: np.ndarray, always: bool = False) -> "Numbering":
        """Keep ids that fit; ``always`` forces ranks."""
        fit = all(x.size == 0 or (x.min() >= INT32_MIN and x.max() <= INT32_MAX) for x in values)
        return cls(None if fit and not always else np.unique(np.concatenate([np.unique(x) for x in values])))

    def __len__(self) -> int:
        return 0 if self.labels is None else len(self.labels)

    def encode(self, values: np.ndarray) -> np.ndarray:
        """The ids as int32."""
        return clip(values) if self.labels is None else np.searchsorted(self.labels, values).astype(np.int32)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """The original ids, int64."""
        return codes.astype(np.int64) if self.labels is None else self.labels[codes]


def read_columns(messages: Mapping[str, Any], n_axes: int) -> dict[str, np.ndarray]:
    """The six columns as int64 of one shape; ValueError naming the column at fault."""
    for name in messages:
        if name not in FIELDS:
            raise ValueError(f"{name}: no such field of a message; the fields are {', '.join(FIELDS)}")
    columns = {}
    for name in FIELDS:
        if name not in messages:
            raise ValueError(f"{name}: missing; the fields of a message are {', '.join(FIELDS)}")
        columns[name] = _integers(name, messages[name])
        if columns[name].ndim != n_axes:
            raise ValueError(f"{name}: needs {n_axes} axes, has shape {columns[name].shape}")
        if columns[name].shape != columns["kind"].shape:
            raise ValueError(f"{name}: has shape {columns[name].shape}, kind has {columns['kind'].shape}")
    return columns


def read_orders(name: str, orders: Any) -> np.ndarray:
    """Resting orders, int64 ``[k, 4]``; no rows for ``None``."""
    rows = np.zeros((0, 4), np.int64) if orders is None else _integers(name, orders)
    rows = rows.reshape(0, 4) if rows.size == 0 else rows
    if rows.ndim != 2 or rows.shape[1] != 4:
        raise ValueError(f"{name}: needs shape [k, 4] (price, quantity, order id, owner), has {rows.shape}")
    return rows


def check_resting(bids: np.ndarray, asks: np.ndarray, spec: BookSpec, any_owner: bool) -> None:
    """Raise ValueError where no book can hold these orders."""
    for name, rows, sign in (("bids", bids, -1), ("asks", asks, 1)):
        if len(rows) > spec.capacity:
            raise ValueError(f"{name}: {len(rows)} orders exceed the capacity {spec.capacity}")
        price, lots = rows[:, 0], rows[:, 1]  # bounds first, and without abs, which overflows at -2**63
        if ((price < -spec.max_price) | (price > spec.max_price) | (lots < 1) | (lots > spec.max_quantity)).any():
            raise ValueError(
                f"{name}: prices must be within {spec.max_price} ticks, sizes 1 to {spec.max_quantity} lots"
            )
        if (np.diff(sign * price) < 0).any():
            raise ValueError(f"{name}: not in priority order, best price first")
        if not any_owner and ((rows[:, 3] < 0) | (rows[:, 3] >= spec.n_owners)).any():
            raise ValueError(f"{name}: owners must be in 0 .. {spec.n_owners - 1}")
    if len(bids) and len(asks) and bids[0, 0] >= asks[0, 0]:
        raise ValueError(f"bids and asks cross: {bids[0, 0]} bid, {asks[0, 0]} asked")
    both = np.concatenate([bids, asks])
    if len(np.unique(both[:, 2])) < len(both):
        raise ValueError("bids and asks: order ids must be unique")


def _integers(name: str, values: Any) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(f"{name}: rows differ in length") from None
    if array.size == 0:
        return array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise ValueError(f"{name}: must be integers of at most 64 bits, is {array.dtype}")
    if array.dtype == np.uint64 and array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name}: must fit int64, holds {array.max()}")
    return array.astype(np.int64)


def integer(name: str, value: Any, at_least: int = 1, at_most: int = INT32_MAX) -> int:
    """The value as an int; ValueError where it is not an integer or is out of bounds."""
    try:
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"{name}: must be an integer, is {value!r}") from None
    if number < at_least:
        raise ValueError(f"{name}: must be at least {at_least}, is {number}")
    if number > at_most:
        raise ValueError(f"{name}: must be at most {at_most}, is {number}")
    return number


def clip(values: np.ndarray) -> np.ndarray:
    """Clip to the int32 range."""
    return np.clip(values, INT32_MIN, INT32_MAX).astype(np.int32)
