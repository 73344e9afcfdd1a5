"""The machine of a run: device, its memory, precision of matrix products, persistent compilation cache."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

import amarl_jax
from amarl_jax.config import RunSettings
from amarl_jax.errors import BadInput, ConfigError
from amarl_jax.host import node

IDLE = "GPUs of this node"  # in the start line where some are left over
USABLE = 0.9  # share of the free memory that a run may plan with
_PLATFORM_VARIABLES = ("JAX_PLATFORMS", "JAX_NUM_CPU_DEVICES", "CUDA_VISIBLE_DEVICES", "XLA_FLAGS")
_MIN_COMPILE_SECONDS = 0.5  # programs that compile faster are not worth a file
_FOLDER, _LEAST_SECONDS = "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs"
_USUAL_KEYS = "threefry2x32"  # JAX's default


@contextlib.contextmanager
def prepared(settings: RunSettings, n_devices: int | None = None) -> Iterator[str]:
    """Context with a run's device, precision and compilation cache, for tracing, compiling and running.

    Yields the start line of a command. JAX's settings are restored afterwards.
    """
    devices = find_devices(settings.device, n_devices)
    elsewhere = devices[0].platform != jax.devices()[0].platform
    there = jax.default_device(devices[0]) if elsewhere else contextlib.nullcontext()
    with _cache(settings.compilation_cache_dir) as cache, there, jax.default_matmul_precision(settings.products):
        n_present = len(find_devices(settings.device))
        count = f"{len(devices)}{f' of {n_present}' if len(devices) < n_present else ''} x {devices[0].device_kind}"
        count += unused(devices[0].platform, jax.local_device_count())
        keys = "" if prng_impl() == _USUAL_KEYS else f" | random keys {prng_impl()}"
        version = f"amarl_jax {amarl_jax.__version__}"
        yield f"{version} | {count} | matmul {settings.precision}{keys} | compilation cache {cache}"


def unused(platform: str, n_seen: int) -> str:
    """Note on the GPUs used by this node's processes, which see ``n_seen`` each; empty unless some are left idle."""
    used, present = n_seen * node.n_processes_here(), node.n_gpus()
    return f" ({used} of the {present} {IDLE})" if platform == "gpu" and used < present else ""


def check_keys(settings: RunSettings) -> None:
    """Raise :class:`ConfigError` unless JAX makes random keys here as it did when the run began."""
    if settings.prng_impl not in ("auto", prng_impl()):
        raise ConfigError(
            "prng_impl",
            settings.prng_impl,
            f"{prng_impl()} here; JAX_DEFAULT_PRNG_IMPL={settings.prng_impl} would allow it",
        )


def prng_impl() -> str:
    """Name of the way in which JAX makes random keys in this process."""
    return str(jax.config.jax_default_prng_impl)  # type: ignore[attr-defined]


def find_devices(name: str, n_devices: int | None = None) -> tuple[jax.Device, ...]:
    """Devices of the kind ``name``, the best that is present for "auto": all of them, or the first ``n_devices``.

    The first call starts XLA, which then reads ``XLA_FLAGS``; nothing here sets them.

    Raises :class:`BadInput` where the machine has none of the kind, or fewer than asked for.
    """
    try:
        devices = jax.devices(None if name == "auto" else name)
    except (RuntimeError, AssertionError):  # JAX asserts where JAX_PLATFORMS names no platform present
        raise ConfigError("device", name, f"present on this machine, {_what_there_is()}") from None
    if n_devices is not None and jax.process_count() > 1:
        raise BadInput(f"--n_devices={n_devices}: the devices of several hosts are all used; leave it out")
    if n_devices is not None and not 1 <= n_devices <= len(devices):
        raise BadInput(
            f"--n_devices={n_devices}: must be from 1 to {len(devices)}, what {devices[0].platform} has here"
        )
    return tuple(devices[:n_devices])


def _what_there_is() -> str:
    """The platform that starts, or the error that keeps every platform from starting."""
    try:
        return f"which has {jax.default_backend()}"
    except (RuntimeError, AssertionError):
        named = {name: os.environ[name] for name in _PLATFORM_VARIABLES if name in os.environ}
        return f"where JAX starts nothing with {' '.join(f'{k}={v}' for k, v in named.items()) or 'its defaults'}"


@contextlib.contextmanager
def _cache(setting: str) -> Iterator[str]:
    """Context with the persistent compilation cache; yields its folder, or "off" and why.

    The folder is that of an explicit setting, else JAX's own, else one in the user's cache folder. JAX keeps the first
    folder that it has opened even when its settings change, so its cache has to be reset.
    """
    said, changed = _cache_settings(setting)
    before = {name: getattr(jax.config, name) for name in changed}
    moved = any(before[name] != value for name, value in changed.items() if name != _LEAST_SECONDS)
    _set_cache(changed, moved)
    try:
        yield said
    finally:
        _set_cache(before, moved)


def _set_cache(values: Mapping[str, Any], forget: bool) -> None:
    """Change JAX's settings of its cache, and reset it so that they take effect if ``forget``."""
    for name, value in values.items():
        jax.config.update(name, value)
    if forget:
        compilation_cache.reset_cache()


def _cache_settings(setting: str) -> tuple[str, dict[str, Any]]:
    """Description of the cache for the start line, and JAX's settings for it."""
    off: dict[str, Any] = {"jax_enable_compilation_cache": False}
    if setting == "off":
        return "off", off
    set_before = os.environ.get("JAX_COMPILATION_CACHE_DIR") or getattr(jax.config, _FOLDER)
    named = set_before if setting == "auto" else setting
    try:
        folder = Path(named or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "amarl_jax", "jax")).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"off ({error.strerror}: {folder})", {}
    except RuntimeError as error:  # a user without a home
        return f"off ({error})", {}
    home = Path(os.path.expanduser("~"))  # which the text does not name: it is copied into notes and notebooks
    said = f"~/{folder.relative_to(home)}" if folder.is_relative_to(home) else str(folder)
    return said, {_FOLDER: str(folder), _LEAST_SECONDS: _MIN_COMPILE_SECONDS}


def free_bytes(devices: Sequence[jax.Device] | None = None) -> int:
    """Least free memory of the devices (default: the one that JAX computes on) that are this process's.

    For a CPU it is the memory available without swapping.
    """
    devices = devices or tuple(jax.numpy.zeros(()).devices())
    return min(_free_bytes(device) for device in devices if device.process_index == jax.process_index())


def _free_bytes(device: jax.Device) -> int:
    held = device.memory_stats() or {}
    if "bytes_limit" in held:
        return int(held["bytes_limit"] - held["bytes_in_use"])
    for line in Path("/proc/meminfo").read_text().splitlines() if Path("/proc/meminfo").exists() else ():
        if line.startswith("MemAvailable"):
            return 1024 * int(line.split()[1])
    return 0
