"""What is written is JSON that any reader takes, whatever numbers are in it."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from amarl_jax.strict_json import finite, to_text


def test_a_number_that_is_not_finite_is_null_at_any_depth():
    document = {"a": [math.nan, (1.5, np.float32("inf"))], "b": {"c": np.float64(-0.0)}, "d": Path("x"), "e": None}
    text = to_text(document)
    read = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert read == {"a": [None, [1.5, None]], "b": {"c": 0.0}, "d": "x", "e": None}
    assert text.endswith("}\n")


def test_whole_numbers_and_flags_stay_what_they_are():
    assert finite({"n": 3, "flag": True}) == {"n": 3, "flag": True}
    assert type(finite(np.float32(0.5))) is float
