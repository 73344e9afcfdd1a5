import dataclasses
import gc
import os

import jax
import pytest

from amarl_jax import config as configuration
from amarl_jax import machine
from amarl_jax.errors import BadInput, ConfigError

TOUCHED = (
    "jax_default_matmul_precision",
    "jax_compilation_cache_dir",
    "jax_enable_compilation_cache",
    "jax_persistent_cache_min_compile_time_secs",
)


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Run settings under a user folder that is empty, JAX's own settings put back afterwards."""
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    before = {name: getattr(jax.config, name) for name in TOUCHED}
    yield configuration.resolve(configuration.load("configs/fast_debug.py")).run
    for name, value in before.items():
        jax.config.update(name, value)


def test_the_cache_is_on_by_default_in_the_users_folder(settings, tmp_path):
    line = machine.prepare(settings)
    folder = tmp_path / "user" / "amarl_jax" / "jax"
    assert folder.is_dir()
    assert jax.config.jax_compilation_cache_dir == str(folder)
    assert line.endswith(f"compilation cache {folder}")
    assert "cpu" in line
    assert jax.config.jax_default_matmul_precision == "float32"


def test_the_environment_names_another_folder_and_a_setting_overrules_it(settings, tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "named"))
    machine.prepare(settings)
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "named")
    machine.prepare(dataclasses.replace(settings, compilation_cache_dir=str(tmp_path / "set")))
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "set")


def test_the_cache_can_be_off(settings, tmp_path):
    assert machine.prepare(dataclasses.replace(settings, compilation_cache_dir="off")).endswith("cache off")
    assert not jax.config.jax_enable_compilation_cache
    assert not (tmp_path / "user").exists()


def test_a_user_without_a_home_computes_without_a_cache(settings, monkeypatch):
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: (_ for _ in ()).throw(KeyError(uid)))
    assert "compilation cache off (" in machine.prepare(settings)


def test_random_keys_of_another_kind_are_named_and_not_mixed(settings):
    assert "random keys" not in machine.prepare(settings)
    run_with_rbg = dataclasses.replace(settings, prng_impl="rbg")
    with pytest.raises(ConfigError, match="prng_impl = 'rbg': must be threefry2x32 here; JAX_DEFAULT_PRNG_IMPL=rbg"):
        machine.check_keys(run_with_rbg)
    with jax.default_prng_impl("rbg"):
        machine.check_keys(run_with_rbg)
        assert "| random keys rbg |" in machine.prepare(settings)


def test_a_folder_that_cannot_be_made_is_said_and_survived(settings, tmp_path):
    (tmp_path / "file").write_text("")
    line = machine.prepare(dataclasses.replace(settings, compilation_cache_dir=str(tmp_path / "file" / "cache")))
    assert "compilation cache off (" in line


def test_a_look_for_devices_changes_no_setting_of_the_process(settings, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=x")
    before = dict(os.environ), gc.get_threshold()
    machine.find_devices("auto")
    machine.prepare(settings)
    assert (dict(os.environ), gc.get_threshold()) == before


def test_a_device_that_is_absent_is_bad_input(settings):
    with pytest.raises(ConfigError, match="device = 'tpu': must be present on this machine, which has cpu"):
        machine.prepare(dataclasses.replace(settings, device="tpu"))


def test_devices_are_counted(settings, monkeypatch):
    assert machine.find_devices("auto") == tuple(jax.devices())
    assert machine.find_devices("cpu", 3) == tuple(jax.devices()[:3])
    assert "3 x cpu" in machine.prepare(settings, 3)
    for n in (0, -1, 9):
        with pytest.raises(BadInput, match=f"--n_devices={n}: must be from 1 to 8"):
            machine.find_devices("auto", n)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(BadInput, match="several hosts"):
        machine.find_devices("auto", 3)
