"""Laws of known information, and samplers of them.

``TRUTH`` holds 53 cases by id, each with its ``family``, the parameters of the law and ``mi`` in nats; those of a
binary label also with the prior ``pi`` = P(z = 1), ``kl_10`` in nats and ``bayes_acc``. Conventions: ``laws.json``.
"""

import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Case = Mapping[str, Any]

TRUTH: dict[str, Case] = {
    case["id"]: case for case in json.loads(pathlib.Path(__file__).with_name("laws.json").read_text())["cases"]
}


def sample(case: Case, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw x and y of n episodes of a law.

    Returns:
        x: labels [n] in {0, 1}, with the prior's frequencies exactly, up to rounding; of a pair of Gaussians [n, dim].
        y: [n, D], of a sequence [n, T, 1].
    """
    if case["family"] == "corr_gaussian":
        x = rng.normal(size=(n, case["dim"]))
        return x, np.asarray(case["rho"] * x + np.sqrt(1 - case["rho"] ** 2) * rng.normal(size=x.shape))
    z = rng.permutation((np.arange(n) < round(case["pi"] * n)).astype(int))
    y = np.asarray(_SAMPLERS[case["family"]](case, rng, z))
    return z, (y.astype(float).reshape(n, 1) if y.ndim == 1 else y)


def _by_class(case: Case, name: str, z: np.ndarray) -> np.ndarray:
    return np.asarray(np.where(z == 1, case[f"{name}1"], case[f"{name}0"]))


def _product(case: Case, rng: np.random.Generator, z: np.ndarray) -> np.ndarray:
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


def _autoregressive(case: Case, rng: np.random.Generator, z: np.ndarray) -> np.ndarray:
    noise = rng.normal(size=(z.size, case["T"]))
    y, phi = noise.copy(), case["phi"] * (z == 1)
    for t in range(1, case["T"]):
        y[:, t] = phi * y[:, t - 1] + np.sqrt(1 - phi**2) * noise[:, t]
    return y[:, :, None]


def _steps(rate: np.ndarray, case: Case) -> np.ndarray:
    return np.repeat(rate[:, None, None], case["T"], axis=1)


_SAMPLERS: dict[str, Callable[[Case, np.random.Generator, np.ndarray], np.ndarray]] = {
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
