"""The book of native_book.cpp, compiled by the system's compiler and called through ctypes."""

import ctypes
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

SOURCE = Path(__file__).resolve().with_name("native_book.cpp")
FLAGS = ("-O3", "-march=native", "-std=c++17", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror")
COLUMNS = ("kind", "side", "price", "quantity", "order_id", "owner", "expiry")


class Resting(NamedTuple):
    """Orders at rest, best first."""

    count: np.ndarray  # [E, 2]
    price: np.ndarray  # [E, 2, N] ticks
    size: np.ndarray  # [E, 2, N] lots
    order_id: np.ndarray  # [E, 2, N]
    owner: np.ndarray  # [E, 2, N]


def compiler():
    """The C++ compiler of this machine, that of ``CXX`` first; None where there is none."""
    names = (os.environ.get("CXX"), "c++", "g++", "clang++")
    return next((found for name in names if name and (found := shutil.which(name))), None)


@functools.cache
def library():
    """The compiled book."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "native_book.so")
        subprocess.run([compiler(), *FLAGS, str(SOURCE), "-o", str(target)], check=True)
        return ctypes.CDLL(str(target))


def player(messages, spec):
    """() -> (orders at rest, lots [E, M], money [E, M]) of message columns [E, M], played from empty books.

    Raises ValueError where ids are not from 0 to M - 1, or a side overflows.
    """
    columns = [np.ascontiguousarray(getattr(messages, name), np.int32) for name in COLUMNS]
    n_books, n_messages = columns[0].shape
    ids = columns[COLUMNS.index("order_id")]
    if ids.min() < 0 or ids.max() >= n_messages:
        raise ValueError(f"order_id: must be from 0 to {n_messages - 1}, the place of a message in its stream")
    radius = int(np.abs(columns[COLUMNS.index("price")]).max())
    whole, side = (n_books, n_messages), (n_books, 2)
    play = library().play
    sizes = [ctypes.c_int64(n_books), ctypes.c_int64(n_messages)]
    bounds = (spec.capacity, radius, spec.n_owners, spec.max_price, spec.max_quantity)
    sizes += [ctypes.c_int32(n) for n in bounds]

    def run():
        lots, money, count = np.empty(whole, np.int32), np.empty(whole, np.int32), np.empty(side, np.int32)
        rows = [np.zeros((*side, spec.capacity), np.int32) for _ in range(4)]
        most = play(*sizes, _pointers(columns), *(_pointer(x) for x in (lots, money, count)), _pointers(rows))
        if most > spec.capacity:
            raise ValueError(f"{most} orders at rest on a side: must be at most {spec.capacity}")
        return Resting(count, *rows), lots, money

    return run


def at_rest(resting):
    """(price, lots, id, owner) of every order at rest, by book and side, best first."""
    there = np.arange(resting.price.shape[-1]) < resting.count[..., None]
    return np.stack([column[there] for column in resting[1:]], axis=1).tolist()


def _pointer(array):
    return ctypes.c_void_p(array.ctypes.data)


def _pointers(arrays):
    return (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))
