"""The market of tests/market, for policies."""

from tests.market.conftest import market, params

__all__ = ["market", "params"]
