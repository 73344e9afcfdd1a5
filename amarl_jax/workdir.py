"""The folder of a run, and the rule that a run is never written over another."""

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from amarl_jax import config as configuration
from amarl_jax import machine, untrusted
from amarl_jax.errors import BadInput, ConfigError

_TRACES_OF_A_RUN = ("config.json", "metrics.jsonl", "checkpoints")
_LINKS_ITS_RUNS = "wandb"  # the folder in which W&B names its latest run by a link; we write nothing into it


@dataclass(frozen=True)
class Run:
    """An experiment and the folder it lives in."""

    experiment: configuration.Experiment
    config: ConfigDict  # what config.json holds
    path: Path  # the workdir
    resume: bool  # continue from the latest checkpoint
    n_devices: int | None = None  # devices to use of those present; None: all

    @property
    def checkpoints(self) -> Path:
        """Folder of the Orbax checkpoints."""
        return self.path / "checkpoints"


def open_run(
    config: ConfigDict | None,
    workdir: str | Path | None = None,
    *,
    resume: bool = False,
    overrides: Mapping[str, Any] | None = None,
    dry_run: bool = False,
    n_devices: int | None = None,
) -> Run:
    """Check everything, then create the workdir (default ``runs/<exp_name>``) with its ``config.json``.

    With ``resume`` the saved configuration is used, whatever ``config`` says, and an override (dotted name to value)
    that differs from it is an error; without, a folder that holds a run is one. ``dry_run`` writes nothing.
    Raises :class:`BadInput` before anything is touched.
    """
    path = _choose_path(config, workdir, resume)
    if resume:
        _refuse_links(path)
        config = _saved_config(path, overrides or {})
    assert config is not None
    experiment = configuration.resolve(config)
    _require_wandb(experiment.run)
    machine.check_keys(experiment.run)
    machine.find_devices(experiment.run.device, n_devices)
    if not resume:
        _refuse_another_run(path)
        config, experiment = _with_key_kind(config)
        if not dry_run:
            path.mkdir(parents=True, exist_ok=True)
            write_atomically(path / "config.json", configuration.save_json(config).encode())
    return Run(experiment=experiment, config=config, path=path, resume=resume, n_devices=n_devices)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file or nothing."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _with_key_kind(config: ConfigDict) -> tuple[ConfigDict, configuration.Experiment]:
    """The configuration that names how its random keys are made, for whoever resumes it elsewhere."""
    config = config.copy_and_resolve_references()
    config.prng_impl = machine.prng_impl()
    return config, configuration.resolve(config)


def _require_wandb(settings: configuration.RunSettings) -> None:
    """Asked for and not installed is found out before anything is written."""
    if settings.use_wandb and importlib.util.find_spec("wandb") is None:
        raise BadInput("logging.use_wandb = True needs Weights & Biases: pip install 'amarl_jax[wandb]'")


def _choose_path(config: ConfigDict | None, workdir: str | Path | None, resume: bool) -> Path:
    if config is None and not resume:
        raise BadInput("--config is required, for example --config=configs/fast_debug.py")
    if workdir is None:
        if config is None:
            raise BadInput("--resume needs --workdir, or --config to name it")
        return Path("runs", _folder_name(config.exp_name))
    path = Path(workdir)
    if (path.exists() or path.is_symlink()) and not path.is_dir():
        raise BadInput(f"--workdir {path}: is not a folder, nor a link to one")
    return path


def _folder_name(exp_name: Any) -> str:
    """The experiment's name, where it is one that stays inside ``runs/``."""
    if isinstance(exp_name, str) and (Path(exp_name).is_absolute() or ".." in Path(exp_name).parts or "\0" in exp_name):
        raise ConfigError("exp_name", exp_name, "a name of a folder inside runs/")
    return exp_name


def _refuse_links(path: Path) -> None:
    """A run that goes on writes into its folder, and may be somebody else's: nothing in it leads out of it."""
    for entry in sorted(path.iterdir()) if path.is_dir() else ():
        if entry.name != _LINKS_ITS_RUNS or entry.is_symlink():
            untrusted.refuse_links(entry)


def _saved_config(path: Path, overrides: Mapping[str, Any]) -> ConfigDict:
    file = path / "config.json"
    if not file.is_file():
        raise BadInput(f"{path}: holds no run to resume (no config.json)")
    config = configuration.load_json(untrusted.read_text(file))
    saved = configuration.flatten(config)
    for name, value in overrides.items():
        configuration.check_name(name)
        if saved[name] != value:
            raise ConfigError(name, value, f"{saved[name]!r} to resume, as saved in {file}, or left out")
    return config


def _refuse_another_run(path: Path) -> None:
    found = next((name for name in _TRACES_OF_A_RUN if (path / name).exists()), None)
    if found:
        raise BadInput(f"{path}: already holds a run ({found}); choose another --workdir, or --resume to continue it")
