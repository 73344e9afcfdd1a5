"""The folder of a run, which is never written over another run, nor by two processes at once."""

import contextlib
import dataclasses
import importlib.util
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

import amarl_jax
from amarl_jax import config as configuration
from amarl_jax import strict_json
from amarl_jax.errors import BadInput, ConfigError, Preempted
from amarl_jax.host import claim, machine, saved_config, untrusted
from amarl_jax.host import processes as hosts
from amarl_jax.host.claim import RUN_FILE
from amarl_jax.host.saved_config import CONFIG_FILE

METRICS_FILE = "metrics.jsonl"
_TRACES_OF_A_RUN = (CONFIG_FILE, METRICS_FILE, "checkpoints")
_LINKS_ITS_RUNS = "wandb"  # W&B's folder, which has a link to its latest run; we write nothing into it
_FILES = {  # that a command writes into its workdir
    "train": ("evaluation.json", "training.png", "training.pdf", "episode.png", "episode.pdf"),
    "sweep": (
        "lanes.json",
        "measured.json",
        "lanes.csv",
        "sweep.json",
        "transition.json",
        *(f"{figure}.{kind}" for figure in ("transition", "fills", "frontier") for kind in ("png", "pdf")),
    ),
}
_FOLDERS = ("checkpoints", "tensorboard", "postmortem")


@dataclass(frozen=True)
class Run:
    """An experiment and the folder it lives in."""

    experiment: configuration.Experiment
    config: ConfigDict  # content of config.json
    path: Path  # the workdir
    resume: bool  # continue from the latest checkpoint
    n_devices: int | None = None  # number of the devices present to use; None: all
    command: str = "train"  # command that made the workdir
    fingerprint: str = ""  # of the settings its checkpoints are trained with
    text: str | None = None  # new content of config.json, where that changes
    found: frozenset[str] | None = None  # what a new run found in the folder; None: there was no folder
    from_weights: bool = False  # began with another run's networks
    not_followed: tuple[str, ...] = ()  # saved settings of the machine that differ from this command's

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
    command: str = "train",
    from_weights: bool = False,
) -> Run:
    """Check everything, then create the workdir (default ``runs/<exp_name>``) with ``config.json`` and ``run.json``.

    With ``resume`` the saved configuration is used, whatever ``config`` says, but for the settings of the machine
    (device, cache, W&B): those are of ``config``, or the defaults. An override (dotted name to value) that differs from
    what is saved is an error, but for a larger ``training.total_timesteps``: it extends the run. Without ``resume`` a
    folder that holds a run is an error. ``dry_run`` writes nothing, and nothing is touched before all is checked.

    Raises :class:`BadInput`.
    """
    path = _choose_path(config, workdir, resume)
    if resume:
        run = _opened_again(path, config, overrides or {}, command)
    else:
        assert config is not None
        config, experiment = _with_key_kind(config)
        text = configuration.save_json(config)
        mark = saved_config.fingerprint(text)
        run = Run(experiment, config, path, False, command=command, fingerprint=mark)
    if resume and command == "train":
        n_devices = _devices_begun_on(path, n_devices)
    run = dataclasses.replace(run, n_devices=n_devices, from_weights=run.from_weights or from_weights)
    _require_wandb(run.experiment.run)
    machine.check_keys(run.experiment.run)
    machine.find_devices(run.experiment.run.device, n_devices)
    refuse_obstacles(path, (CONFIG_FILE, RUN_FILE, METRICS_FILE, *_FILES[command]), _FOLDERS)
    if resume:
        return run
    _refuse_another_run(path)
    if dry_run:
        return run
    return dataclasses.replace(run, found=_create(run, text))


@contextlib.contextmanager
def at_work(run: Run) -> Iterator[None]:
    """Lock the workdir for this process (the chief, of several); a failure before the first update removes the workdir.

    Raises :class:`BadInput` where another process is at work in it.
    """
    if not hosts.is_chief():
        yield
        return
    with claim.claimed(run.path):
        for setting in run.not_followed:
            print(f"{CONFIG_FILE}: {setting} is not followed: what acts on this machine, the command says")
        try:
            yield
        except Preempted:
            raise
        except BaseException:
            if not run.resume and not _has_begun(run.path):
                _take_back(run)
            raise


def write_extended(run: Run) -> None:
    """Write the new total of an extended run into its ``config.json``."""
    if run.text is not None:
        write_atomically(run.path / CONFIG_FILE, run.text.encode())


def write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file or nothing."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, document: Any) -> None:
    """Write a whole file of strict JSON or nothing; see :mod:`amarl_jax.strict_json`."""
    write_atomically(path, strict_json.to_text(document).encode())


def refuse_obstacles(path: Path, files: tuple[str, ...], folders: tuple[str, ...] = ()) -> None:
    """Raise :class:`BadInput` where ``path`` has a folder in place of a file, or a file in place of a folder."""
    for name in files:
        if (path / name).is_dir():
            raise BadInput(f"{path / name}: is a folder, where a file is to be written")
    for name in folders:
        if (path / name).exists() and not (path / name).is_dir():
            raise BadInput(f"{path / name}: is not a folder, which is to be written there")


def _opened_again(path: Path, config: ConfigDict | None, overrides: Mapping[str, Any], command: str) -> Run:
    """The run that a workdir holds, on this command's machine."""
    _refuse_links(path)
    saved = saved_config.read(path, overrides, config)
    about = claim.require_maker(path, command)
    return Run(
        saved.experiment,
        saved.config,
        path,
        True,
        command=command,
        fingerprint=saved.fingerprint,
        text=saved.text,
        not_followed=tuple(saved_config.not_followed(saved)),
        from_weights=bool(about.get("from_weights")),
    )


def _devices_begun_on(path: Path, wanted: int | None) -> int | None:
    """Number of devices that a run began on, each with a replay of its own, so that no other number continues it."""
    begun = claim.read_maker(path).get("n_devices", 1)
    if type(begun) is not int or begun < 1:
        raise BadInput(f"{path / RUN_FILE}: n_devices = {begun!r}: must be a whole number from 1")
    if wanted is not None and wanted != begun:
        raise BadInput(f"--n_devices={wanted}: the run began on {begun}, and is continued on as many; leave it out")
    return None if begun == 1 else begun


def _create(run: Run, text: str) -> frozenset[str] | None:
    """Make the folder that of a run; returns the names in it before."""
    path = run.path
    found = frozenset(entry.name for entry in path.iterdir()) if path.is_dir() else None
    path.mkdir(parents=True, exist_ok=True)
    with claim.claimed(path):
        _refuse_another_run(path)  # again, now that no other process can make it one
        about = {"command": run.command, "amarl_jax": amarl_jax.__version__, "from_weights": run.from_weights}
        if run.command == "train" and run.n_devices is not None:
            about["n_devices"] = run.n_devices
        claim.write_maker(path, about)
        write_atomically(path / CONFIG_FILE, text.encode())
    return found


def _has_begun(path: Path) -> bool:
    """True if there is an update on record, or a checkpoint."""
    metrics, checkpoints = path / METRICS_FILE, path / "checkpoints"
    saved = checkpoints.is_dir() and any(entry.name.isdigit() for entry in checkpoints.iterdir())
    return saved or (metrics.is_file() and metrics.stat().st_size > 0)


def _take_back(run: Run) -> None:
    """Remove the files of a run that has made no update; what was there before stays."""
    made = (RUN_FILE, CONFIG_FILE, METRICS_FILE, *_FILES[run.command], *_FOLDERS)
    for name in made:
        if run.found is not None and name in run.found:
            continue
        entry = run.path / name
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
    if run.found is None:
        with contextlib.suppress(OSError):
            run.path.rmdir()


def _with_key_kind(config: ConfigDict) -> tuple[ConfigDict, configuration.Experiment]:
    """The configuration with the kind of its random keys set, for a resume on another machine."""
    config = config.copy_and_resolve_references()
    config.prng_impl = machine.prng_impl()
    return config, configuration.resolve(config)


def _require_wandb(settings: configuration.RunSettings) -> None:
    """Raise :class:`BadInput`, before anything is written, where W&B is asked for and not installed."""
    if settings.use_wandb and importlib.util.find_spec("wandb") is None:
        raise BadInput("logging.use_wandb = True needs Weights & Biases: pip install -e '.[wandb]' in the checkout")


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
    """The experiment's name; raises :class:`ConfigError` unless it stays inside ``runs/``."""
    if isinstance(exp_name, str) and (Path(exp_name).is_absolute() or ".." in Path(exp_name).parts or "\0" in exp_name):
        raise ConfigError("exp_name", exp_name, "a name of a folder inside runs/")
    return exp_name


def _refuse_links(path: Path) -> None:
    """Raise :class:`BadInput` for a link in the folder of a resumed run: it may be untrusted, and is written to."""
    for entry in sorted(path.iterdir()) if path.is_dir() else ():
        if entry.name != _LINKS_ITS_RUNS or entry.is_symlink():
            untrusted.refuse_links(entry)


def _refuse_another_run(path: Path) -> None:
    found = next((name for name in _TRACES_OF_A_RUN if (path / name).exists()), None)
    if found:
        raise BadInput(f"{path}: already holds a run ({found}); choose another --workdir, or --resume to continue it")
