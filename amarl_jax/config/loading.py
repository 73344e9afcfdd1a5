"""From a ``ConfigDict`` to typed bags of numbers: load, validate, resolve. Nothing beyond reads a ConfigDict."""

import difflib
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from amarl_jax.config import files as config_files
from amarl_jax.config.consistency import check_consistency, size_beta
from amarl_jax.config.experiment import Experiment, RunSettings, SweepSettings
from amarl_jax.config.flow_settings import FLOW, LAW, check_axis, from_file, recorded_for, table_for, with_flow
from amarl_jax.config.settings import BAGS, ESTIMATOR, FOREIGN, SETTINGS, float32, whole
from amarl_jax.errors import ConfigError, UnknownSetting
from amarl_jax.information import estimators
from amarl_jax.learn.game import Game
from amarl_jax.learn.hypers import Hypers, LearnSpec
from amarl_jax.market.noise import orders
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.market.rewards import RewardWeights
from amarl_jax.market.table_noise import TableNoise
from amarl_jax.nets.actors import start_size
from amarl_jax.nets.precision import of_networks
from amarl_jax.nets.spec import BeliefSpec, NetworkSpec

LAMBDA = "agents.execution.lambda_leakage"  # the first axis of every sweep


def load(path: str | Path, overrides: Mapping[str, Any] | None = None) -> ConfigDict:
    """The validated configuration of ``path[:variant]`` with ``overrides`` (dotted name to value) applied.

    A path that does not exist is looked up among the configurations that come with the package, so
    ``configs/default.py`` works from anywhere. Raises :class:`ConfigError`.
    """
    name, _, variant = str(path).partition(":")
    config = config_files.call(config_files.find(name), variant)
    apply_own_flow(config, overrides or {})
    apply_overrides(config, overrides or {})
    validate(config)
    return config.lock()


def apply_own_flow(config: ConfigDict, overrides: Mapping[str, Any]) -> None:
    """Set what the flow that a configuration file names speaks of, unless the overrides name one themselves."""
    values = flatten(config)
    if FLOW in overrides or not isinstance(values.get(FLOW), str):
        return
    plain = flatten(config_files.call(config_files.find_packaged("default"), ""))
    if not plain.keys() <= values.keys():
        return  # something is missing, which the check of the whole names
    for name, value in from_file(values, plain, overrides.get(LAW)).items():
        section, leaf = _section(config, name)
        section[leaf] = value


def apply_overrides(config: ConfigDict, overrides: Mapping[str, Any]) -> None:
    """Set dotted names in place; two names of one value (the horizon) must not be given two values."""
    for name in overrides:
        check_name(name)
    overrides = with_flow(overrides, flatten(config).get(LAW))
    overrides = {
        name: whole(tuple(value) if isinstance(value, list) else value, SETTINGS[name].kind)
        for name, value in overrides.items()
    }
    for name, value in overrides.items():
        section, leaf = _section(config, name)
        try:
            section[leaf] = value
        except (TypeError, OverflowError):  # of the latter an integer that no float can hold
            raise ConfigError(name, value, SETTINGS[name].allowed) from None
    for name, value in overrides.items():
        section, leaf = _section(config, name)
        if section[leaf] != value and not _both_nan(section[leaf], value):
            raise ConfigError(name, value, f"{section[leaf]!r}, which its other name was set to")


def check_name(name: str) -> None:
    """Raise :class:`UnknownSetting` unless ``name`` is a setting, with the nearest one or the reason."""
    if name in SETTINGS:
        return
    if name in FOREIGN:
        raise UnknownSetting(name, FOREIGN[name])
    if any(setting.startswith(f"{name}.") for setting in SETTINGS):
        raise UnknownSetting(name, "it is a section: give one of its settings")
    near = difflib.get_close_matches(name, SETTINGS, n=1, cutoff=0.5)
    raise UnknownSetting(name, f"did you mean {near[0]}?" if near else "docs/configuration.md lists them all")


def validate(config: ConfigDict) -> None:
    """Raise a one-line :class:`ConfigError` unless every setting is known, present, typed, in range and consistent."""
    resolve(config)


def resolve(config: ConfigDict) -> Experiment:
    """The typed experiment of a configuration; raises :class:`ConfigError` as :func:`validate` does."""
    values = _checked_values(config)
    bags: dict[str, dict[str, Any]] = {}
    for name, setting in SETTINGS.items():
        bag, _, field = setting.target.partition(".")
        if bag:
            bags.setdefault(bag, {})[field] = float(values[name]) if setting.kind == "float" else values[name]
    network = bags["network_spec"]
    belief = {key.partition(".")[2]: network.pop(key) for key in list(network) if key.startswith("belief.")}
    a, b = size_beta(values)
    market_spec = MarketSpec(**bags["market_spec"])
    network_spec = NetworkSpec(belief=BeliefSpec(**belief), products=of_networks(values["precision"]), **network)
    learn_spec = LearnSpec(**bags["learn_spec"])
    total, needed = values["training.total_timesteps"], Game(market_spec, network_spec, learn_spec).steps_per_update()
    final_fraction = 1.0 if values["training.lr_schedule"] == "constant" else 0.0
    sweep = SweepSettings(**bags["sweep"])
    _check_ladder(sweep)
    table, recorded = table_for(values), recorded_for(values)
    law, windows = recorded or (TableNoise() if table is not None else orders, None)
    return Experiment(
        market_spec=market_spec,
        network_spec=network_spec,
        learn_spec=learn_spec,
        env_params=EnvParams(size_beta_a=a, size_beta_b=b, flow=table, windows=windows, **bags["env_params"]),  # type: ignore[arg-type]
        weights=RewardWeights(**bags["weights"]),
        hypers=Hypers(
            n_updates=float(-(-total // needed)),
            lr_final_fraction=final_fraction,
            start_size=start_size(a, b),
            **bags["hypers"],
        ),
        run=RunSettings(precision=values["precision"], **bags["run"]),
        sweep=sweep,
        total_timesteps=total,
        noise_law=law,
    )


def save_json(config: ConfigDict) -> str:
    """The configuration as the text of ``config.json``."""
    return json.dumps(config.to_dict(preserve_field_references=False), indent=2) + "\n"


def load_json(text: str) -> ConfigDict:
    """A configuration saved by :func:`save_json`, tuples restored; raises :class:`ConfigError`.

    An estimator that it names is not imported: whoever reads a file has named it before (:func:`import_estimator`).
    """
    config = config_files.call(config_files.find_packaged("default"), "")
    try:
        saved = dict(_leaves(json.loads(text)))
    except (ValueError, AttributeError, RecursionError):
        raise ConfigError("config.json", text[:40], "a configuration that a run saved") from None
    apply_overrides(config, saved)
    _require_named(saved.get(ESTIMATOR))
    validate(config)
    return config.lock()


def import_estimator(place: object) -> None:
    """Import and register the estimator at ``module:name``, as a user names it; another name is left as it is.

    Raises :class:`ConfigError` where none can be imported.
    """
    if not isinstance(place, str) or ":" not in place:
        return
    try:
        estimators.named(place)
    except ValueError as error:
        raise ConfigError(ESTIMATOR, place, str(error)) from error


def _require_named(place: object) -> None:
    """Refuse an estimator's ``module:name`` that a file says and nobody in this process has said."""
    if isinstance(place, str) and ":" in place and place not in estimators.REGISTRY:
        raise ConfigError(ESTIMATOR, place, f"named again, as --estimator={place}: no file says what is imported")


def flatten(config: ConfigDict) -> dict[str, Any]:
    """Dotted name to value of every leaf."""
    return dict(_leaves(config.to_dict(preserve_field_references=False)))


def _checked_values(config: ConfigDict) -> dict[str, Any]:
    """The leaves of a configuration, each known, present, typed and in range, and consistent with one another."""
    values = flatten(config)
    for name in values:
        check_name(name)
    for name, setting in SETTINGS.items():
        if name not in values:
            raise ConfigError(name, None, f"{setting.allowed}; it is missing")
        values[name] = whole(values[name], setting.kind)
        if name == ESTIMATOR:
            import_estimator(values[name])
        if not setting.admits(values[name]):
            raise ConfigError(name, values[name], setting.refusal(values[name]))
    check_consistency(values)
    _check_axis(values)
    return values


def _check_axis(values: dict[str, Any]) -> None:
    """The second axis of a sweep is one number that a traced leaf holds, and every value of it is allowed."""
    name = values["sweep.axis"]
    if name == "none":
        return
    if name == LAMBDA or name not in varied_by_lanes().values():
        allowed = "none, or a number of EnvParams, RewardWeights or Hypers, such as environment.latency_ms.arbitrageur"
        raise ConfigError("sweep.axis", name, allowed)
    check_axis(name, values[LAW])
    setting = SETTINGS[name]
    seen = [float32(value) for value in values["sweep.axis_values"]]
    for i, value in enumerate(values["sweep.axis_values"]):
        if seen[i] in seen[:i]:
            raise ConfigError("sweep.axis_values", value, "another number than those before it, also as float32")
        exact = whole(float(value), setting.kind)
        if not setting.admits(exact):
            raise ConfigError("sweep.axis_values", value, f"{setting.refusal(exact)}, for {name}")
        check_consistency(values | {name: exact})


def _check_ladder(sweep: SweepSettings) -> None:
    """Neighbours on the grid of penalties are two numbers to the program that trains them."""
    lambdas = sweep.lambdas()
    for low, high in itertools.pairwise(lambdas):
        if not float32(low) < float32(high):
            reason = f"fewer, or further apart: {low:g} and {high:g} on the grid are one number as float32"
            raise ConfigError("sweep.n_lambdas", sweep.n_lambdas, reason)


def varied_by_lanes() -> dict[str, str]:
    """Settings that the lanes of a sweep may differ in, by the traced leaf that holds each, ``bag.leaf``."""
    return {
        setting.target: name
        for name, setting in SETTINGS.items()
        if setting.kind in ("int", "float") and setting.target.partition(".")[0] in BAGS
    }


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _section(config: ConfigDict, name: str) -> tuple[ConfigDict, str]:
    *path, leaf = name.split(".")
    for part in path:
        config = config[part]
    return config, leaf


def _both_nan(a: Any, b: Any) -> bool:
    return isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b)
