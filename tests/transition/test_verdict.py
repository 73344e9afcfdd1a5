"""The verdict on what it will be given: steps, flat curves, hyperbolas and smooth falls, one arm and all of them."""

import numpy as np
import pytest

from amarl_jax.transition.locate import Curves
from amarl_jax.transition.verdict import judge
from tests.transition.curves import PENALTY, SMOOTH, curves, truth

ALL = [(start, horizon) for start in ("quiet", "loud") for horizon in (50, 200)]
NARROWING = {("quiet", 50): 2.0, ("quiet", 200): "step", ("loud", 50): 2.0, ("loud", 200): "step"}


def arms(kinds, randomiser=True, n_seeds=8):
    """Arms from ``{(start, T): kind or width}``."""
    made = []
    for i, ((start, horizon), kind) in enumerate(kinds.items()):
        about = {"start": start, "horizon": horizon, "private_randomiser": randomiser}
        shape = {} if isinstance(kind, str) else {"width": kind}
        name = kind if isinstance(kind, str) else "logistic"
        made.append(curves(np.random.default_rng(i), name, n_seeds, about, **shape))
    return made


@pytest.mark.parametrize(
    ("kind", "word"), [("step", "not determined"), ("flat", "no fall"), *((kind, "crossover") for kind in SMOOTH)]
)
def test_one_quiet_arm_gets_the_right_word_or_none(kind, word):
    verdict = judge(arms({("quiet", 50): kind}))
    assert verdict.word in {word, "not determined"}
    if kind in ("step", "flat", "hyperbola", "logistic"):
        assert verdict.word == word, str(verdict)


@pytest.mark.parametrize("kind", ["step", "flat"])
def test_without_noise_too(kind):
    """Seeds that agree to the last digit leave no error to divide by."""
    information = np.tile(truth(kind), (8, 1))
    verdict = judge([Curves(PENALTY, information, 0.5 + information / 1.4, horizon=50)])
    assert verdict.word == {"step": "not determined", "flat": "no fall"}[kind]
    assert verdict.arms[0][1].kind == kind


@pytest.mark.parametrize(
    ("kind", "word"),
    [("step", "not determined"), ("flat", "no fall"), ("hyperbola", "crossover"), ("logistic", "crossover")],
)
def test_all_arms_alike_get_the_right_word(kind, word):
    """Steps as narrow as the grid at both horizons cannot be seen to narrow: that needs a finer grid."""
    verdict = judge(arms(dict.fromkeys(ALL, kind)))
    assert verdict.word == word, str(verdict)
    if kind == "step":
        assert "the grid is too coarse to see it" in str(verdict)


def test_a_transition_is_narrow_narrowing_and_the_same_from_both_starts():
    assert judge(arms(NARROWING)).word == "transition"


@pytest.mark.parametrize(
    ("change", "word", "reason"),
    [
        ({("loud", 200): 2.0}, "not determined", "the starts differ"),
        ({("quiet", 50): "step", ("loud", 50): "step"}, "not determined", "does not shrink"),
        ({("quiet", 200): 2.0, ("loud", 200): 2.0}, "crossover", "is wider than the grid"),
        ({("quiet", 50): 6.0, ("loud", 50): 6.0, ("quiet", 200): 2.0, ("loud", 200): 2.0}, "not determined", "narrows"),
        ({("quiet", 200): "flat", ("loud", 200): "flat"}, "not determined", "I falls by"),
    ],
)
def test_anything_less_is_something_else(change, word, reason):
    verdict = judge(arms(NARROWING | change))
    assert verdict.word == word, str(verdict)
    assert reason in str(verdict)


@pytest.mark.parametrize(
    ("left_out", "reason"),
    [("loud", "no loud start was run"), ("quiet", "no quiet start was run"), (50, "only one horizon was run")],
)
def test_what_was_not_run_is_not_assumed(left_out, reason):
    verdict = judge(arms({key: kind for key, kind in NARROWING.items() if left_out not in key}))
    assert verdict.word == "not determined"
    assert reason in str(verdict)


def test_arms_without_the_private_randomiser_do_not_decide():
    without = arms(NARROWING, randomiser=False)
    assert str(judge(without)) == "not determined: no arm with the private randomiser on"
    both = judge([*without, *arms(dict.fromkeys(NARROWING, 2.0))])
    assert both.word == "crossover"
    assert len(both.arms) == 8, "they are reported beside"


def test_one_arm_with_too_few_seeds_leaves_the_verdict_open():
    few = arms({("loud", 200): "step"}, n_seeds=6)
    verdict = judge([*arms(NARROWING)[:3], *few])
    assert str(verdict) == "not determined: 6 seeds, 8 are needed"
