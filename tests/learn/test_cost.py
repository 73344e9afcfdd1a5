"""Arithmetic counted in traced programs, and what follows from bytes."""

import re
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from amarl_jax import config as configuration
from amarl_jax import learn
from amarl_jax.dry_run import batch_rows, flops_rows, memory_rows, tree_bytes
from amarl_jax.host.machine import free_bytes
from amarl_jax.learn import cost as cost_module
from amarl_jax.learn.cost import PARTS, Cost, count_flops

LEARN = Path(*learn.__path__)

A, B = jax.ShapeDtypeStruct((3, 5), jnp.float32), jax.ShapeDtypeStruct((5, 7), jnp.float32)
ONE_PRODUCT = 2 * 3 * 5 * 7  # a multiplication and an addition per element of each of the inner products


def flops(function, *arguments, visits=(1,)):
    return count_flops(jax.make_jaxpr(function)(*arguments).jaxpr, list(visits))


def test_a_program_without_loops_costs_what_xla_says():
    def program(a, b):
        return jax.vmap(lambda row: row @ b)(a)

    says = jax.jit(program).lower(A, B).compile().cost_analysis()["flops"]
    assert flops(program, A, B) == {"other": ONE_PRODUCT} == {"other": says}


def test_the_body_of_a_loop_counts_as_often_as_it_runs():
    def program(a, b):
        step = jax.checkpoint(lambda total, _: (total + jnp.sum(a @ b), None))
        return jax.lax.scan(lambda total, _: jax.lax.scan(step, total, None, length=4), 0.0, None, length=10)[0]

    assert flops(program, A, B) == {"other": 40 * ONE_PRODUCT}


def test_batched_products_and_gradients_are_counted():
    def loss(b, rows):
        return jnp.sum(jax.vmap(lambda row: row @ b)(rows) ** 2)

    rows = jax.ShapeDtypeStruct((9, 3, 5), jnp.float32)
    assert flops(jax.grad(loss), B, rows) == {"other": 2 * 9 * ONE_PRODUCT}, "forwards, and back to b"


def test_a_branch_counts_by_how_often_it_is_taken():
    def program(phase, a, b):
        return jax.lax.switch(phase, [lambda: jnp.sum(a @ b), lambda: jnp.float32(0)])

    index = jax.ShapeDtypeStruct((), jnp.int32)
    assert flops(program, index, A, B, visits=(1, 3)) == {"other": 0.25 * ONE_PRODUCT}


def test_products_belong_to_the_part_whose_scope_they_are_in():
    def program(a, b):
        with jax.named_scope("play"):
            first = jax.lax.scan(lambda x, _: _decode_and_act(x, a, b), 0.0, None, length=2)[0]
        with jax.named_scope("ppo"):
            return first + jax.grad(lambda c: jnp.sum((a @ c) ** 2))(b)

    def _decode_and_act(x, a, b):
        with jax.named_scope("decode"):
            x = x + jnp.sum(a @ b)
        return x + jnp.sum(jnp.tanh(a) @ b), None

    measured = flops(program, A, B)
    assert measured == {"decode": 2 * ONE_PRODUCT, "play": 2 * ONE_PRODUCT, "ppo": 2 * ONE_PRODUCT}


def test_what_fits_follows_from_bytes():
    cost = Cost(flops={"play": 2e6, "ppo": 3e6}, state_bytes=100, scratch_bytes=400, n_envs=8)
    assert cost.lanes_that_fit(1600) == 3  # of 500 bytes each
    assert cost.envs_that_fit(1600) == 30  # 1,500 bytes of scratch, 50 for each
    assert cost.envs_that_fit(50) == 0
    assert flops_rows(cost)[-1][1] == "5.000"
    assert memory_rows(cost, 2**30)[-1][1] == f"{int(0.9 * 2**30 / 500):,}"
    assert memory_rows(cost, 2**30, n_memories=4)[-1][1] == f"{4 * int(0.9 * 2**30 / 500):,}"


def test_scratch_that_does_not_grow_with_the_environments_is_told_from_what_does():
    cost = Cost(flops={}, state_bytes=100, scratch_bytes=400, n_envs=8, more_envs=24, more_scratch_bytes=560)
    assert (cost.scratch_of(0), cost.scratch_of(48)) == (320, 800)  # 10 for each
    assert cost.envs_that_fit(1420) == 100
    mib, said = zip(*(row[1:] for row in batch_rows(cost, 20_000, n_memories=4)), strict=True)
    assert mib[0] == "0.00 MiB"
    assert said[:4] == ("40 lanes fit", "24 lanes fit", "12 lanes fit", "4 lanes fit")  # of 1700, 2980, 5540 and 10660
    assert said[4] == "does not fit"
    assert (mib[-1], said[-1]) == (f"{(18_000 - 420) // 10:,}", "in one lane")


@pytest.mark.parametrize(("n_envs", "more"), [(128, 16_384), (96, 16_320), (12_288, 24_576)])
def test_the_larger_size_is_a_multiple_of_the_runs_own_so_that_batches_divide_it(n_envs, more, monkeypatch):
    def traced(setup, n_updates):
        memory = SimpleNamespace(temp_size_in_bytes=10 * setup.game.learn.n_envs)
        compiled = SimpleNamespace(memory_analysis=lambda: memory)
        return SimpleNamespace(lower=lambda: SimpleNamespace(compile=lambda: compiled))

    monkeypatch.setattr(cost_module, "_traced", traced)
    setup = configuration.resolve(configuration.load("configs/default.py")).setup
    cost = Cost(flops={}, state_bytes=1, scratch_bytes=10 * n_envs, n_envs=n_envs)
    cost = cost_module.measure_more(cost, setup)
    assert (cost.more_envs, cost.more_scratch_bytes) == (more, 10 * more)
    assert cost.scratch_of(0) == 0


def test_every_part_of_an_update_has_a_name():
    scopes = [re.findall(r'named_scope\("(\w+)"\)', path.read_text()) for path in LEARN.glob("*.py")]
    assert {name for names in scopes for name in names} == PARTS.keys() - {"other"}


def test_the_card_with_the_least_memory_is_planned_with():
    def card(free, process=0):
        held = {"bytes_limit": free + 7, "bytes_in_use": 7}
        return SimpleNamespace(process_index=process, memory_stats=lambda: held)

    assert free_bytes([card(300), card(200), card(100, process=1)]) == 200, "of another process only it knows"


def test_bytes_of_a_tree_with_keys():
    tree = {"a": jnp.zeros((3, 4)), "b": jnp.zeros(5, jnp.int8), "key": jax.random.key(0)}
    assert tree_bytes(tree) == tree_bytes(jax.eval_shape(lambda: tree)) == 48 + 5 + 8


def test_this_machine_has_memory():
    assert 2**20 < free_bytes() < 2**50


@pytest.mark.parametrize("available", [0, 10])
def test_nothing_fits_in_nothing(available):
    cost = Cost(flops={}, state_bytes=100, scratch_bytes=400, n_envs=8)
    assert (cost.lanes_that_fit(available), cost.envs_that_fit(available)) == (0, 0)
