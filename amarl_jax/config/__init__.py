"""Settings: loaded, checked, resolved to typed bags of numbers; the grid of a sweep."""

from amarl_jax.config.loading import (
    LAMBDA,
    ConfigError,
    Experiment,
    RunSettings,
    SweepSettings,
    apply_overrides,
    check_name,
    flatten,
    game_of,
    load,
    load_json,
    resolve,
    save_json,
    steps_per_update,
    validate,
    varied_by_lanes,
)

__all__ = [
    "LAMBDA",
    "ConfigError",
    "Experiment",
    "RunSettings",
    "SweepSettings",
    "apply_overrides",
    "check_name",
    "flatten",
    "game_of",
    "load",
    "load_json",
    "resolve",
    "save_json",
    "steps_per_update",
    "validate",
    "varied_by_lanes",
]
