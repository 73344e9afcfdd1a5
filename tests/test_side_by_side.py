"""Work dealt to the cores of a processor, and put together again in order."""

import jax
import numpy as np
import pytest

from amarl_jax import config as configuration
from amarl_jax import side_by_side
from amarl_jax.evaluation.frozen import play_frozen, play_on_cores
from amarl_jax.information import tape_detector
from amarl_jax.information.tape_detector import TapeDetectorSpec, cross_fit_tapes, plan_tapes
from amarl_jax.learn.update import begin
from amarl_jax.posterior.exact import ExactSpec
from tests.information.test_tape_detector import episodes
from tests.tiny_runs import TINY, jax_settings

__all__ = ["jax_settings"]

SMALL = TapeDetectorSpec(n_folds=4, hidden=(4,), min_steps=5, n_checks=1, batch_size=8)


@pytest.fixture
def cores(monkeypatch):
    """Let a processor have two cores, whatever this machine has."""
    monkeypatch.setattr(side_by_side.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)


@pytest.mark.parametrize(("n_pieces", "n_cores", "n_parts"), [(32, 2, 2), (32, 64, 4), (3, 2, 1), (1, 8, 1), (7, 3, 3)])
def test_every_part_has_two_pieces_or_more(monkeypatch, n_pieces, n_cores, n_parts):
    monkeypatch.setattr(side_by_side.os, "sched_getaffinity", lambda _: set(range(n_cores)), raising=False)
    parts = side_by_side.dealt(n_pieces)
    assert len(parts) == n_parts
    assert set(parts.ravel()) == set(range(n_pieces)), "nothing is left out"


@pytest.mark.parametrize("n_pieces", [4, 5, 7])
def test_rows_come_back_in_the_order_of_their_pieces(cores, n_pieces):
    """Two rows a piece, each with the number of its piece; what is played twice comes once."""
    rows = side_by_side.side_by_side(
        lambda own: np.repeat(10 * own, 2) + np.tile([0, 1], len(own)), side_by_side.dealt(n_pieces)
    )
    expected = [10 * piece + row for piece in range(n_pieces) for row in (0, 1)]
    np.testing.assert_array_equal(side_by_side.together(rows, n_pieces), expected)


def test_an_error_of_a_part_is_the_callers():
    with pytest.raises(ZeroDivisionError):
        side_by_side.side_by_side(lambda part: 1 // part, [1, 0])


def test_episodes_played_on_two_cores_are_those_of_one(cores):
    """Bit for bit, exact rows and traces among them, of five batches, of which three are read."""
    setup = configuration.resolve(configuration.load(TINY)).setup  # eight environments
    state, key, exact = begin(jax.random.key(0), setup), jax.random.key(3), ExactSpec(24, 4, 2)
    whole = play_frozen(key, state, setup, 40, exact=exact)
    parts = play_on_cores(jax.random.clone(key), state, setup, 40, exact=exact)
    assert parts.exact.log_ratio.shape[0] == 24
    assert len(side_by_side.dealt(5)) == 2
    jax.tree.map(np.testing.assert_array_equal, parts, jax.tree.map(np.asarray, whole))


def test_folds_trained_on_two_cores_are_those_of_one(cores):
    tapes, z, _ = episodes(2, 64)
    tapes = jax.tree.map(jax.numpy.asarray, tapes)
    design = plan_tapes(jax.random.key(1), z, *tapes.side.shape[1:], SMALL)
    given = (design, tapes, jax.numpy.asarray(z), jax.numpy.float32(0.5), SMALL)
    np.testing.assert_array_equal(tape_detector._on_cores(*given), cross_fit_tapes(*given))
