"""The numbers of one program: what a tiny learner measures stays what it was, and a change of it is on purpose.

``python -m tests.learn.test_golden_metrics`` writes ``tests/fixtures/golden_metrics.json`` anew. Its ``since`` is the
first commit with these numbers: ``tests/documents/check_programs.py`` holds the results that the documents quote to it.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.host.provenance import commit
from amarl_jax.learn.state import init_state
from tests.learn.conftest import GAME, compiled_learning, tiny_setup, with_key
from tests.learn.test_exact_source import EXACT
from tests.learn.test_exact_source import compiled as compiled_exact

FILE = Path(__file__).parents[1] / "fixtures" / "golden_metrics.json"
PROGRAMS = {"mine": (compiled_learning, GAME), "exact": (compiled_exact, EXACT)}
PHASES = (0, 1, 0)  # the last plays and reads what the first two have learned


def measured(source, start, setup):
    """Metrics of every phase, to six digits, of a learner whose leakage is read by ``source``."""
    (compiled, game), state, rows = PROGRAMS[source], with_key(start, 6), []
    for phase in PHASES:
        state, metrics = compiled()(state, jnp.int32(phase), setup.replace(game=game))
        rows.append({name: float(f"{float(value):.6g}") for name, value in sorted(metrics.items())})
    return rows


@pytest.mark.parametrize("source", PROGRAMS)
def test_metrics_are_those_on_record(source, start, setup):
    expected = json.loads(FILE.read_text())[source]
    for row, golden in zip(measured(source, start, setup), expected, strict=True):
        assert row.keys() == golden.keys()
        wrong = {
            name: (row[name], value)
            for name, value in golden.items()
            if not np.isclose(row[name], value, rtol=1e-3, atol=1e-5)
        }
        assert not wrong, "on purpose? then write the file anew, and run again what the documents quote"


def main():
    setup = tiny_setup()
    start = jax.jit(init_state)(jax.random.key(5), setup)
    found = {source: measured(source, start, setup) for source in PROGRAMS}
    known = json.loads(FILE.read_text())
    since = known["since"] if known == known | found else commit()
    FILE.write_text(json.dumps({"since": since} | found, indent=1) + "\n")


if __name__ == "__main__":
    main()
