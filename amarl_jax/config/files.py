"""The Python files of configurations: finding them, and calling them."""

import importlib.util
import re
import traceback
from pathlib import Path

from ml_collections import ConfigDict

from amarl_jax.errors import ConfigError

_HINT = re.compile(r'Did you mean "[^"]*"( instead of "[^"]*")?\?')  # behind that listing
_PACKAGE = Path(__file__).resolve().parents[1]
_FOLDERS = (_PACKAGE / "configs", _PACKAGE.parent / "configs")  # an installed wheel; a checkout


def find(name: str) -> Path:
    """The file that a configuration's name stands for: that path if it exists, else the installed one."""
    if Path(name).is_file():
        return Path(name)
    relative = Path(name)
    if relative.suffix in ("", ".py") and relative.parts[:-1] in ((), ("configs",)):
        for folder in _FOLDERS:
            candidate = folder / f"{relative.stem}.py"
            if candidate.is_file():
                return candidate
    raise ConfigError("config", name, "a readable Python file with get_config(variant)")


def find_packaged(stem: str) -> Path:
    """A configuration that comes with the package, whatever the current folder holds."""
    return next(path for folder in _FOLDERS if (path := folder / f"{stem}.py").is_file())


def call(path: Path, variant: str) -> ConfigDict:
    """``get_config(variant)`` of a Python file, which is executed; an error in it becomes one line.

    Raises :class:`ConfigError`.
    """
    spec = importlib.util.spec_from_file_location(f"amarl_config_{re.sub(r'[^0-9a-zA-Z]', '_', path.stem)}", path)
    if spec is None or spec.loader is None:
        raise ConfigError("config", str(path), "a Python file with get_config(variant)")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        config = module.get_config(variant)
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError("config", str(path), f"a configuration that loads ({_one_line(error, path)})") from error
    if not isinstance(config, ConfigDict):
        raise ConfigError("config", str(path), "a file whose get_config returns a ConfigDict")
    return config


def _one_line(error: BaseException, path: Path) -> str:
    """Line in the file and message, without the list of all other fields that ml_collections appends."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == path.resolve()]
    place = f"line {lines[-1]}, " if lines else ""
    what = str(error).strip("'\"").partition("Other fields present:")[0]
    hint = _HINT.search(str(error))
    return " ".join(f"{place}{type(error).__name__}: {what} {hint[0] if hint else ''}".split())
