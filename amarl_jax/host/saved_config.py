"""The configuration saved in a workdir: which of it a later command follows, and which it may change."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from amarl_jax import config as configuration
from amarl_jax.config import Experiment
from amarl_jax.config.flow_settings import FLOW, LAW, absolute, content_hash
from amarl_jax.config.settings import ESTIMATOR, SETTINGS
from amarl_jax.errors import BadInput, ConfigError
from amarl_jax.host import untrusted

CONFIG_FILE = "config.json"
TOTAL = "training.total_timesteps"
_OF_THE_MACHINE = ("compilation_cache_dir", "device", "logging.use_wandb", "logging.wandb_project")
_TRAINS = ("seed", "precision")  # settings of the run that change what is learned


@dataclasses.dataclass(frozen=True)
class Saved:
    """The configuration in a workdir's ``config.json``."""

    config: ConfigDict
    experiment: Experiment  # with this command's settings of the machine
    text: str | None  # new content of config.json where the run is extended
    fingerprint: str  # of the settings its checkpoints were trained with


def fingerprint(text: str) -> str:
    """Hash of the settings in the text of a ``config.json`` that change what is learned.

    Left out are those of the run (names, intervals, loggers, devices; seed and precision count) and the total, which
    may grow. Settings that the file does not name do not count, so a later version gives the same hash. Where the noise
    law comes from a file, ``+`` and the hash of that file's present content follow.
    """
    leaves = dict(_leaves(json.loads(text)))
    counted = {name: value for name, value in leaves.items() if _counts(name)}
    own = hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()
    of_flow = content_hash(leaves.get(LAW, ""), leaves.get(FLOW, ""))
    return f"{own}+{of_flow}" if of_flow else own


def read(path: Path, overrides: Mapping[str, Any] | None = None, given: ConfigDict | None = None) -> Saved:
    """The configuration that the workdir ``path`` holds, to continue with.

    Args:
        path: the workdir.
        overrides: dotted name to value, from the command; one that differs from what is saved is an error, unless it is
            of the machine or a larger total.
        given: the command's own configuration, from which the settings of the machine are taken; None: the defaults.

    An estimator of mutual information that either of these names is imported; one that only the file names is refused.
    """
    file = path / CONFIG_FILE
    if not file.is_file():
        raise BadInput(f"{path}: holds no run to resume (no {CONFIG_FILE})")
    text = untrusted.read_text(file)
    configuration.import_estimator((overrides or {}).get(ESTIMATOR))
    if given is not None:
        configuration.import_estimator(configuration.flatten(given).get(ESTIMATOR))
    config = configuration.load_json(text)
    mark = fingerprint(text)
    saved, extended = configuration.flatten(config), None
    for name, value in absolute(overrides or {}).items():
        configuration.check_name(name)
        if name == TOTAL and type(value) is int and value > saved[name]:
            config, extended = _extended(text, value)
        elif name not in _OF_THE_MACHINE and saved[name] != value:
            larger = f", or more {name.rpartition('.')[2]}" if name == TOTAL else ""
            raise ConfigError(name, value, f"{saved[name]!r} to resume, as saved in {file}{larger}, or left out")
    return Saved(config, _of_this_machine(configuration.resolve(config), given), extended, mark)


def not_followed(saved: Saved) -> list[str]:
    """Saved settings of the machine that differ from this command's, as ``name = value``."""
    leaves, run = configuration.flatten(saved.config), saved.experiment.run
    used = {name: getattr(run, SETTINGS[name].target.partition(".")[2]) for name in _OF_THE_MACHINE}
    return [f"{name} = {leaves[name]!r}" for name in _OF_THE_MACHINE if leaves[name] != used[name]]


def _extended(text: str, total: int) -> tuple[ConfigDict, str]:
    """The configuration with another total, and its text with nothing else changed."""
    document = json.loads(text)
    document.pop(TOTAL, None)
    document.setdefault("training", {})["total_timesteps"] = total
    text = json.dumps(document, indent=2) + "\n"
    return configuration.load_json(text), text


def _of_this_machine(experiment: Experiment, given: ConfigDict | None) -> Experiment:
    """The same experiment on this command's device, with its cache and its loggers, which a folder does not decide.

    A cache holds programs that are executed: a folder may turn it off, but not choose it.
    """
    if given is not None:
        own = configuration.resolve(given).run
        mine: dict[str, Any] = {
            "compilation_cache_dir": own.compilation_cache_dir,
            "device": own.device,
            "use_wandb": own.use_wandb,
            "wandb_project": own.wandb_project,
        }
    else:
        cache = "off" if experiment.run.compilation_cache_dir == "off" else "auto"
        mine = {"compilation_cache_dir": cache, "device": "auto", "use_wandb": False}
    return dataclasses.replace(experiment, run=dataclasses.replace(experiment.run, **mine))


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _counts(name: str) -> bool:
    if name == TOTAL or name == "sweep.lanes_at_once":
        return False
    return name in _TRAINS or name not in SETTINGS or not SETTINGS[name].target.startswith("run.")
