import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.learn.metrics import Metrics

PACKED = Metrics.of({"b": jnp.float32(2.0), "a": jnp.float32(1.0)})


def test_it_is_a_mapping_in_alphabetical_order():
    assert dict(PACKED) == {"a": 1.0, "b": 2.0}
    assert list(PACKED) == ["a", "b"]
    with pytest.raises(KeyError, match="c"):
        PACKED["c"]


def test_a_union_keeps_every_value_by_its_name():
    both = Metrics.of({"c": jnp.float32(3.0), "aa": jnp.float32(4.0)}).renamed("x/") | PACKED
    assert dict(both) == {"a": 1.0, "b": 2.0, "x/aa": 4.0, "x/c": 3.0}
    assert list(both) == sorted(both)
    assert dict(both.chosen(["x/c", "a"])) == {"x/c": 3.0, "a": 1.0}


def test_no_scalars_add_nothing():
    assert dict(Metrics.of({})) == {}
    assert dict(Metrics.of({}) | PACKED) == dict(PACKED)


def test_a_loop_and_lanes_lead_its_values():
    def count(start):
        return jax.lax.scan(lambda n, _: (n + 1, Metrics.of({"n": n, "twice": 2 * n})), start, None, length=3)[1]

    rows = jax.jit(jax.vmap(count))(jnp.array([0, 10]))
    np.testing.assert_array_equal(rows["n"], [[0, 1, 2], [10, 11, 12]])
    np.testing.assert_array_equal(rows["twice"], [[0, 2, 4], [20, 22, 24]])
