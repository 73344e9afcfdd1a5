"""What a run computes on: device, precision of matrix products, persistent compilation cache."""

import os
from pathlib import Path

import jax

import amarl_jax
from amarl_jax.config import RunSettings
from amarl_jax.errors import ConfigError

_MIN_COMPILE_SECONDS = 0.5  # programs that compile faster are not worth a file


def prepare(settings: RunSettings) -> str:
    """Apply device, precision and compilation cache to JAX; return them as the start line of a run."""
    jax.config.update("jax_default_matmul_precision", settings.precision)
    devices = _choose_devices(settings.device)
    cache = _open_cache(settings.compilation_cache_dir)
    count = f"{len(devices)} x {devices[0].device_kind}"
    return f"amarl_jax {amarl_jax.__version__} | {count} | matmul {settings.precision} | compilation cache {cache}"


def _choose_devices(name: str) -> list[jax.Device]:
    if name == "auto":
        return jax.devices()
    try:
        devices = jax.devices(name)
    except RuntimeError:
        raise ConfigError("device", name, f"present on this machine, which has {jax.default_backend()}") from None
    if name != jax.default_backend():
        jax.config.update("jax_default_device", devices[0])
    return devices


def _open_cache(setting: str) -> str:
    """Folder of the cache, or "off": an explicit setting first, then JAX_COMPILATION_CACHE_DIR, then the user's."""
    if setting == "off":
        jax.config.update("jax_enable_compilation_cache", False)
        return "off"
    named = os.environ.get("JAX_COMPILATION_CACHE_DIR") if setting == "auto" else setting
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(named).expanduser() if named else home / "amarl_jax" / "jax"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"off ({error.strerror}: {folder})"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _MIN_COMPILE_SECONDS)
    return str(folder)
