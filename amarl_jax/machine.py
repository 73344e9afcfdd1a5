"""What a run computes on: device, precision of matrix products, persistent compilation cache."""

import os
from pathlib import Path

import jax

import amarl_jax
from amarl_jax.config import RunSettings
from amarl_jax.errors import BadInput, ConfigError

_PLATFORM_VARIABLES = ("JAX_PLATFORMS", "JAX_NUM_CPU_DEVICES", "CUDA_VISIBLE_DEVICES", "XLA_FLAGS")
_MIN_COMPILE_SECONDS = 0.5  # programs that compile faster are not worth a file
_USUAL_KEYS = "threefry2x32"  # JAX's default


def prepare(settings: RunSettings, n_devices: int | None = None) -> str:
    """Apply device, precision and compilation cache to JAX; return them as the start line of a command."""
    jax.config.update("jax_default_matmul_precision", settings.precision)
    devices = find_devices(settings.device, n_devices)
    if devices[0].platform != jax.devices()[0].platform:
        jax.config.update("jax_default_device", devices[0])
    cache = _open_cache(settings.compilation_cache_dir)
    count = f"{len(devices)} x {devices[0].device_kind}"
    keys = "" if prng_impl() == _USUAL_KEYS else f" | random keys {prng_impl()}"
    version = f"amarl_jax {amarl_jax.__version__}"
    return f"{version} | {count} | matmul {settings.precision}{keys} | compilation cache {cache}"


def check_keys(settings: RunSettings) -> None:
    """Raise :class:`ConfigError` unless JAX makes random keys here as the run has made its own."""
    if settings.prng_impl not in ("auto", prng_impl()):
        raise ConfigError(
            "prng_impl",
            settings.prng_impl,
            f"{prng_impl()} here; JAX_DEFAULT_PRNG_IMPL={settings.prng_impl} would allow it",
        )


def prng_impl() -> str:
    """How JAX makes random keys in this process."""
    return str(jax.config.jax_default_prng_impl)  # type: ignore[attr-defined]


def find_devices(name: str, n_devices: int | None = None) -> tuple[jax.Device, ...]:
    """Devices of the kind ``name``, the best that is present for "auto": all of them, or the first ``n_devices``.

    The first look starts XLA, which reads ``XLA_FLAGS`` then; nothing here sets them.

    Raises :class:`BadInput` where the machine has none of the kind, or fewer than asked for.
    """
    try:
        devices = jax.devices(None if name == "auto" else name)
    except (RuntimeError, AssertionError):  # JAX asserts where JAX_PLATFORMS names nothing that is present
        raise ConfigError("device", name, f"present on this machine, {_what_there_is()}") from None
    if n_devices is not None and jax.process_count() > 1:
        raise BadInput(f"--n_devices={n_devices}: the devices of several hosts are all used; leave it out")
    if n_devices is not None and not 1 <= n_devices <= len(devices):
        raise BadInput(
            f"--n_devices={n_devices}: must be from 1 to {len(devices)}, what {devices[0].platform} has here"
        )
    return tuple(devices[:n_devices])


def _what_there_is() -> str:
    """The platform that starts, or what keeps every platform from starting."""
    try:
        return f"which has {jax.default_backend()}"
    except (RuntimeError, AssertionError):
        named = {name: os.environ[name] for name in _PLATFORM_VARIABLES if name in os.environ}
        return f"where JAX starts nothing with {' '.join(f'{k}={v}' for k, v in named.items()) or 'its defaults'}"


def _open_cache(setting: str) -> str:
    """Folder of the cache, or "off": an explicit setting first, then JAX_COMPILATION_CACHE_DIR, then the user's."""
    if setting == "off":
        jax.config.update("jax_enable_compilation_cache", False)
        return "off"
    named = os.environ.get("JAX_COMPILATION_CACHE_DIR") if setting == "auto" else setting
    try:
        folder = Path(named or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "amarl_jax", "jax")).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"off ({error.strerror}: {folder})"
    except RuntimeError as error:  # a user without a home
        return f"off ({error})"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _MIN_COMPILE_SECONDS)
    return str(folder)
