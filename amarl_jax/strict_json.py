"""JSON that any reader takes: null for a number that is not finite, which JSON cannot express."""

import json
import math
from typing import Any

import numpy as np


def to_text(document: Any) -> str:
    """The text of a file: indented, :func:`finite`, a line break at the end; what JSON cannot hold becomes a string."""
    return json.dumps(finite(document), indent=1, default=str, allow_nan=False) + "\n"


def finite(value: Any) -> Any:
    """``value``, nested as it may be, with None for every number that is not finite."""
    if isinstance(value, dict):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value
