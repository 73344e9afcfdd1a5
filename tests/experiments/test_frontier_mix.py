"""What a private mix of two policies leaks, from likelihood ratios alone."""

import importlib
from pathlib import Path

import numpy as np
import pytest
from scipy.special import entr

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "frontier"
MODULES = ("frontier", "mix")


@pytest.fixture(scope="module")
def mix():
    """The experiment's module; its name and that of the one beside it are free again afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        for name in MODULES:
            patch.delitem(importlib.sys.modules, name, raising=False)
        yield importlib.import_module("mix")
        for name in MODULES:
            importlib.sys.modules.pop(name, None)


def gaussian(shifts, n, seed=0):
    """Log ratios of the readers of two shifts of a normal number, for numbers of either and of noise."""
    rng, (first, second) = np.random.default_rng(seed), shifts
    numbers = {"first": first + rng.normal(size=n), "second": second + rng.normal(size=n), "noise": rng.normal(size=n)}
    return {name: np.stack([d * x - d * d / 2 for d in shifts]) for name, x in numbers.items()}


@pytest.mark.parametrize("share", [0.0, 0.2, 0.7, 1.0])
def test_one_policy_is_seen_for_certain_and_the_other_is_noise(mix, share):
    """The closed form: a quiet record has the posterior ``(1 - w) / (2 - w)``, and a loud one says all."""
    none, sure = np.zeros(9), np.full(9, np.inf)
    ratios = {"first": np.stack([none, -sure]), "second": np.stack([-sure, sure]), "noise": np.stack([none, -sure])}
    posterior = (1.0 - share) / (2.0 - share)
    exact = np.log(2.0) - (1.0 - share / 2.0) * (entr(posterior) + entr(1.0 - posterior))
    assert mix.information(share, ratios, 0.5) == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize("prior", [0.5, 0.2])
def test_a_mix_of_shifts_leaks_what_an_integral_says(mix, prior):
    share, shifts = 0.3, (0.5, 2.5)
    x = np.linspace(-12.0, 14.0, 20_001)
    law = lambda d: np.exp(-0.5 * (x - d) ** 2) / np.sqrt(2.0 * np.pi)  # noqa: E731
    informed = (1.0 - share) * law(shifts[0]) + share * law(shifts[1])
    whole = prior * informed + (1.0 - prior) * law(0.0)
    kept = prior * informed * np.log(informed / whole) + (1.0 - prior) * law(0.0) * np.log(law(0.0) / whole)
    found = mix.information(share, gaussian(shifts, 400_000), prior)
    assert found == pytest.approx(np.trapezoid(kept, x), abs=0.004)


def test_the_line_the_tie_and_what_the_best_mix_saves(mix, monkeypatch):
    """Ends of 0.3 units and 0.1, and nothing and all leaked: they tie at 0.2 / ln 2."""
    none, sure = np.zeros(40), np.full(40, np.inf)
    ratios = {"first": np.stack([none, -sure]), "second": np.stack([-sure, sure]), "noise": np.stack([none, -sure])}
    costs = {"first": np.full(40, 0.3), "second": np.full(40, 0.1)}
    found = mix.curve(costs, ratios, 0.5)
    assert found["penalty"] == pytest.approx(0.2 / np.log(2.0))
    assert found["gain_units"] == pytest.approx(found["penalty"] * found["below_line_nats"])
    objective = np.array(found["cost_units"]) + found["penalty"] * np.array(found["nats"])
    assert objective[0] == pytest.approx(objective[-1])
    assert objective[0] - objective.min() == pytest.approx(found["gain_units"])
    monkeypatch.setattr(mix, "N_BOOTSTRAP", 20)
    low, high = mix.intervals(costs, ratios, 0.5)["gain_units"]
    assert low == pytest.approx(high), "episodes that are all alike"


def test_what_mixing_takes_off_is_seen_between_shifts_that_differ(mix):
    """Where the two are alike a mix is on the line; between 0.5 and 2.5 it lies below."""
    for shifts, low, high in (((1.0, 1.0), -0.002, 0.002), ((0.5, 2.5), 0.06, 0.07)):
        ratios = gaussian(shifts, 100_000)
        ends = [mix.information(share, ratios, 0.5) for share in (0.0, 0.5, 1.0)]
        assert low < 0.5 * (ends[0] + ends[2]) - ends[1] < high
