"""Samplers of the ground truth's laws, and the laws themselves."""

import json
import pathlib

import numpy as np

FIXTURES = pathlib.Path(__file__).parent.parent / "fixtures" / "information_ground_truth.json"
TRUTH = {case["id"]: case for case in json.loads(FIXTURES.read_text())["cases"]}


def sample(case, rng, n):
    """x and y of n episodes; labels have the prior's frequencies exactly, up to rounding."""
    if case["family"] == "corr_gaussian":
        x = rng.normal(size=(n, case["dim"]))
        return x, case["rho"] * x + np.sqrt(1 - case["rho"] ** 2) * rng.normal(size=x.shape)
    z = rng.permutation((np.arange(n) < round(case["pi"] * n)).astype(int))
    y = _SAMPLERS[case["family"]](case, rng, z)
    return z, np.asarray(y, float).reshape(n, 1) if np.ndim(y) == 1 else y


def _by_class(case, name, z):
    return np.where(z == 1, case[f"{name}1"], case[f"{name}0"])


def _product(case, rng, z):
    return np.stack(
        [
            np.exp(rng.normal(0.5 * z)),
            rng.beta(2.0, np.where(z == 1, 5.0, 2.0)),
            rng.poisson(np.where(z == 1, 6.0, 4.0)),
            rng.binomial(1, np.where(z == 1, 0.6, 0.5)),
            rng.exponential(1 / np.where(z == 1, 1.5, 1.0)),
        ],
        axis=1,
    )


def _autoregressive(case, rng, z):
    noise = rng.normal(size=(z.size, case["T"]))
    y, phi = noise.copy(), case["phi"] * (z == 1)
    for t in range(1, case["T"]):
        y[:, t] = phi * y[:, t - 1] + np.sqrt(1 - phi**2) * noise[:, t]
    return y[:, :, None]


def _steps(rate, case):
    return np.repeat(rate[:, None, None], case["T"], axis=1)


_SAMPLERS = {
    "binary_gauss": lambda case, rng, z: rng.normal(case["dprime"] * z),
    "binary_gauss_var": lambda case, rng, z: rng.normal(0.0, np.where(z == 1, case["sigma1"], 1.0)),
    "binary_poisson": lambda case, rng, z: rng.poisson(_by_class(case, "lam", z)),
    "binary_beta": lambda case, rng, z: rng.beta(_by_class(case, "a", z), _by_class(case, "b", z)),
    "binary_bernoulli": lambda case, rng, z: rng.binomial(1, _by_class(case, "q", z)),
    "binary_exponential": lambda case, rng, z: rng.exponential(1 / _by_class(case, "rate", z)),
    "binary_lognormal": lambda case, rng, z: np.exp(rng.normal(case["dlogmu"] * z, case["sigma"])),
    "binary_uniform": lambda case, rng, z: rng.random(z.size) + case["delta"] * z,
    "binary_product5": _product,
    "seq_iid_gauss": lambda case, rng, z: rng.normal(_steps(case["dprime_step"] * z, case)),
    "seq_iid_bern": lambda case, rng, z: rng.binomial(1, _steps(_by_class(case, "q", z), case)).astype(float),
    "seq_iid_poisson": lambda case, rng, z: rng.poisson(_steps(_by_class(case, "lam", z), case)).astype(float),
    "seq_ar1_vs_white": _autoregressive,
}
