"""Settings: loaded, checked, resolved to typed bags of numbers; the grid of a sweep."""

from amarl_jax.config.experiment import Experiment, RunSettings, SweepSettings
from amarl_jax.config.loading import (
    LAMBDA,
    apply_overrides,
    apply_own_flow,
    check_name,
    flatten,
    import_estimator,
    load,
    load_json,
    resolve,
    save_json,
    validate,
    varied_by_lanes,
)
from amarl_jax.errors import ConfigError

__all__ = [
    "LAMBDA",
    "ConfigError",
    "Experiment",
    "RunSettings",
    "SweepSettings",
    "apply_overrides",
    "apply_own_flow",
    "check_name",
    "flatten",
    "import_estimator",
    "load",
    "load_json",
    "resolve",
    "save_json",
    "validate",
    "varied_by_lanes",
]
