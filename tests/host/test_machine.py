import contextlib
import dataclasses
import gc
import os

import jax
import jax.numpy as jnp
import pytest

from amarl_jax import config as configuration
from amarl_jax.errors import BadInput, ConfigError
from amarl_jax.host import machine


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Run settings under a user folder that is empty, JAX set to no cache of its own."""
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    monkeypatch.setenv("HOME", str(tmp_path / "elsewhere"))
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    yield configuration.resolve(configuration.load("configs/fast_debug.py")).run
    jax.config.update("jax_compilation_cache_dir", before)


def line_of(settings, *n_devices):
    with machine.prepared(settings, *n_devices) as line:
        return line


def test_the_cache_is_on_by_default_in_the_users_folder(settings, tmp_path):
    folder = tmp_path / "user" / "amarl_jax" / "jax"
    with machine.prepared(settings) as line:
        assert folder.is_dir()
        assert jax.config.jax_compilation_cache_dir == str(folder)
        assert line.endswith(f"compilation cache {folder}")
        assert "cpu" in line


def test_the_environment_names_another_folder_and_a_setting_overrules_it(settings, tmp_path, monkeypatch):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "set in python"))
    assert line_of(settings).endswith(str(tmp_path / "set in python"))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "named"))
    with machine.prepared(settings):
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "named")
    with machine.prepared(dataclasses.replace(settings, compilation_cache_dir=str(tmp_path / "set"))):
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "set")


def test_the_line_does_not_say_where_the_users_folder_is(settings, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert line_of(settings).endswith("compilation cache ~/user/amarl_jax/jax")


def test_the_cache_can_be_off(settings, tmp_path):
    with machine.prepared(dataclasses.replace(settings, compilation_cache_dir="off")) as line:
        assert line.endswith("cache off")
        assert not jax.config.jax_enable_compilation_cache
    assert jax.config.jax_enable_compilation_cache
    assert not (tmp_path / "user").exists()


def test_what_is_compiled_inside_is_in_the_runs_cache_and_nothing_else(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_MIN_COMPILE_SECONDS", 0.0)
    before = jax.config.jax_persistent_cache_min_compile_time_secs
    folders = [tmp_path / name for name in ("own", "first", "second")]
    jax.config.update("jax_compilation_cache_dir", str(folders[0]))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    try:
        for offset, folder in ((1.0, None), (2.0, folders[1]), (3.0, folders[2]), (4.0, None)):
            run = dataclasses.replace(settings, compilation_cache_dir=str(folder or "auto"))
            with machine.prepared(run) if folder else contextlib.nullcontext():
                jax.jit(lambda x, offset=offset: jnp.sin(x) + offset)(jnp.float32(0.5))
            kept = [len([*folder.glob("jit__lambda*-cache")]) for folder in folders]
            assert kept == {1.0: [1, 0, 0], 2.0: [1, 1, 0], 3.0: [1, 1, 1], 4.0: [2, 1, 1]}[offset]
    finally:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", before)


def test_matrix_products_inside_have_the_precision_of_the_run_and_those_outside_the_callers(settings):
    def is_float32():
        return "precision = [HIGHEST, HIGHEST]" in square.lower(jnp.ones((2, 2))).as_text()

    square = jax.jit(lambda x: x @ x)
    for precision in ("float32", "bfloat16"):
        with machine.prepared(dataclasses.replace(settings, precision=precision)) as line:
            assert f"matmul {precision}" in line
            assert is_float32() == (precision == "float32")
        assert not is_float32()


def test_a_user_without_a_home_computes_without_a_cache(settings, monkeypatch):
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: (_ for _ in ()).throw(KeyError(uid)))
    assert "compilation cache off (" in line_of(settings)


def test_random_keys_of_another_kind_are_named_and_not_mixed(settings):
    assert "random keys" not in line_of(settings)
    run_with_rbg = dataclasses.replace(settings, prng_impl="rbg")
    with pytest.raises(ConfigError, match="prng_impl = 'rbg': must be threefry2x32 here; JAX_DEFAULT_PRNG_IMPL=rbg"):
        machine.check_keys(run_with_rbg)
    with jax.default_prng_impl("rbg"):
        machine.check_keys(run_with_rbg)
        assert "| random keys rbg |" in line_of(settings)


def test_a_folder_that_cannot_be_made_is_said_and_survived(settings, tmp_path):
    (tmp_path / "file").write_text("")
    line = line_of(dataclasses.replace(settings, compilation_cache_dir=str(tmp_path / "file" / "cache")))
    assert "compilation cache off (" in line


def test_a_look_for_devices_changes_no_setting_of_the_process(settings, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=x")
    before = dict(os.environ), gc.get_threshold()
    machine.find_devices("auto")
    assert (dict(os.environ), gc.get_threshold()) == before


def test_a_device_that_is_absent_is_bad_input(settings):
    with pytest.raises(ConfigError, match="device = 'tpu': must be present on this machine, which has cpu"):
        line_of(dataclasses.replace(settings, device="tpu"))


def test_devices_are_counted(settings, monkeypatch):
    assert machine.find_devices("auto") == tuple(jax.devices())
    assert machine.find_devices("cpu", 3) == tuple(jax.devices()[:3])
    assert "| 3 of 8 x cpu |" in line_of(settings, 3)
    for n in (0, -1, 9):
        with pytest.raises(BadInput, match=f"--n_devices={n}: must be from 1 to 8"):
            machine.find_devices("auto", n)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(BadInput, match="several hosts"):
        machine.find_devices("auto", 3)


def test_the_line_says_what_is_left_idle(settings, monkeypatch):
    monkeypatch.setattr(machine, "unused", lambda platform, n_seen: f" ({platform}: {n_seen} of 9)")
    assert f"| {jax.device_count()} x cpu (cpu: {jax.local_device_count()} of 9) |" in line_of(settings)
