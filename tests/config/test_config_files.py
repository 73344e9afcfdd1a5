"""Where a configuration's name is looked up, and files that are none."""

from pathlib import Path

import pytest

from amarl_jax import config as configuration
from amarl_jax.errors import ConfigError


@pytest.mark.parametrize("path", ["configs/default.py", "default.py", "fast_debug"])
def test_packaged_configurations_are_found_from_any_folder(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert configuration.load(path).exp_name == Path(path).stem


def test_a_file_of_the_user_goes_first(tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    body = "    return config.load('fast_debug', {'seed': 99})\n"
    mine = f"from amarl_jax import config\ndef get_config(variant=''):\n{body}"
    (tmp_path / "configs" / "default.py").write_text(mine)
    monkeypatch.chdir(tmp_path)
    assert configuration.load("configs/default.py").seed == 99


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("syntax.py", "def get_config(:"),
        ("nothing.py", ""),
        ("other.py", "def get_config(variant):\n    return {}"),
        ("ends.py", "import sys\nsys.exit(0)"),
        ("ends_later.py", "def get_config(variant):\n    raise SystemExit"),
    ],
)
def test_a_file_that_is_no_configuration_is_one_line(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as error:
        configuration.load(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_name_that_does_not_exist_is_found_in_the_file(tmp_path):
    """ml_collections appends every field there is, on many lines."""
    body = "    config.training.lr_acto = 1\n    return config\n"
    text = f"from amarl_jax import config as c\ndef get_config(variant):\n    config = c.load('fast_debug')\n{body}"
    (tmp_path / "typo.py").write_text(text)
    with pytest.raises(ConfigError, match=r'line 4, AttributeError: .*Did you mean "lr_actor"') as error:
        configuration.load(tmp_path / "typo.py")
    assert len(str(error.value)) < 300 + len(str(tmp_path))
