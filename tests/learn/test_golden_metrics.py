"""The numbers of one program: what a tiny learner measures stays what it was, and a change of it is on purpose.

``python -m tests.learn.test_golden_metrics`` writes ``tests/fixtures/golden_metrics.json`` anew. Results that the
documents quote are of one program as long as that file is: :mod:`tests.documents.test_results` compares their commits.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.learn.hypers import Hypers
from amarl_jax.learn.hypers import as_arrays as hypers_as_arrays
from amarl_jax.learn.state import init_state
from amarl_jax.market.params import EnvParams
from amarl_jax.market.params import as_arrays as params_as_arrays
from tests.learn.conftest import GAME, compiled_learning, with_key
from tests.learn.test_exact_source import compiled as compiled_exact

FILE = Path(__file__).parents[1] / "fixtures" / "golden_metrics.json"
PROGRAMS = {"mine": compiled_learning, "exact": compiled_exact}
PHASES = (0, 1, 0)  # the last plays and reads what the first two have learned


def measured(source, start, hypers, params):
    """Metrics of every phase, to six digits, of a learner whose leakage is read by ``source``."""
    learn, state, rows = PROGRAMS[source](), with_key(start, 6), []
    for phase in PHASES:
        state, metrics = learn(state, jnp.int32(phase), hypers, params)
        rows.append({name: float(f"{float(value):.6g}") for name, value in sorted(metrics.items())})
    return rows


@pytest.mark.parametrize("source", PROGRAMS)
def test_metrics_are_those_on_record(source, start, hypers, params):
    expected = json.loads(FILE.read_text())[source]
    for row, golden in zip(measured(source, start, hypers, params), expected, strict=True):
        assert row.keys() == golden.keys()
        wrong = {
            name: (row[name], value)
            for name, value in golden.items()
            if not np.isclose(row[name], value, rtol=1e-3, atol=1e-5)
        }
        assert not wrong, "on purpose? then write the file anew, and run again what the documents quote"


def main():
    hypers = hypers_as_arrays(Hypers(n_updates=10.0))
    params = params_as_arrays(EnvParams(noise_rate=2.0, slot_rate=0.3, parent_lots=10, max_spread_ticks=4))
    start = jax.jit(lambda key: init_state(key, GAME, hypers, params))(jax.random.key(5))
    found = {source: measured(source, start, hypers, params) for source in PROGRAMS}
    FILE.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
