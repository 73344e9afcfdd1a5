"""The text of lanes.json: what is written is read back, and what no sweep writes is one line."""

import re

import pytest

from amarl_jax import config as configuration
from amarl_jax.config.grid import grid_text, lanes_of, read_grid
from amarl_jax.errors import BadInput

AXIS = {"sweep.axis": "environment.slot_rate", "sweep.axis_values": (0.1, 0.2)}


def test_lanes_are_read_back_as_they_were_written():
    config = configuration.load("configs/lambda_sweep.py", AXIS)
    lanes = lanes_of(configuration.resolve(config))
    assert len({str(lane) for lane in lanes}) == len(lanes) == 2 * config.sweep.n_lambdas * config.sweep.n_seeds
    assert read_grid(grid_text(lanes), "here", config) == lanes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "is not JSON"),
        ("[]", "must be a list of lanes"),
        ('[{"hypers": []}]', "hypers must be an object"),
        ('[{"env_params": {"slot_rat": 0.1}}]', "env_params has no 'slot_rat' that lanes differ in"),
        ('[{}, {"env_params": {"slot_rate": 2.0}}]', "lane 1: environment.slot_rate = 2.0: must be"),
        ('[{"seed": 0.5}]', "lane 0: seed = 0.5: must be"),
    ],
)
def test_a_text_that_is_no_grid_is_refused_in_one_line(text, said):
    with pytest.raises(BadInput, match=f"^here: {re.escape(said)}"):
        read_grid(text, "here", configuration.load("configs/lambda_sweep.py"))
