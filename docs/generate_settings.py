"""Write ``settings.md``: every setting with default, range and meaning, from the commented configurations.

    python docs/generate_settings.py

A test compares the page with what this would write.
"""

import ast
import io
import tokenize
from pathlib import Path

from amarl_jax import config as configuration
from amarl_jax.config.settings import SETTINGS, Setting

DOCS = Path(__file__).resolve().parent
DEFAULT = DOCS.parent / "configs" / "default.py"
SECTIONS = {  # function of configs/default.py to the section that it makes
    "get_config": "",
    "environment": "environment",
    "execution": "agents.execution",
    "market_maker": "agents.market_maker",
    "arbitrageur": "agents.arbitrageur",
    "exact": "exact",
    "networks": "networks",
    "training": "training",
    "sweep": "sweep",
    "logging": "logging",
}
HEAD = """# Every setting

Written by `python docs/generate_settings.py` from the comments of [`configs/default.py`](../configs/default.py) and the
ranges of [`amarl_jax/config/settings.py`](../amarl_jax/config/settings.py). *debug* is the value of
[`configs/fast_debug.py`](../configs/fast_debug.py) where it differs. *Feeds* names the typed field that holds the
value, or the fields that are converted from it. Numbers held by a field of `env_params`, `weights` or `hypers` may
differ between the lanes of a sweep; the others are sizes and switches of the compiled program, or change no number of
the game. How settings are given is in [configuration](configuration.md).
"""


def comments(source: str) -> dict[str, str]:
    """Dotted name of an assignment in ``configs/default.py`` to the comment behind it, continuation lines included."""
    behind, alone = {}, {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            by_line = alone if token.line.strip().startswith("#") else behind
            by_line[token.start[0]] = token.string.lstrip("# ")
    found = {}
    for function in ast.parse(source).body:
        if not isinstance(function, ast.FunctionDef) or function.name not in SECTIONS:
            continue
        for node in function.body:
            if not isinstance(node, ast.Assign) or node.end_lineno not in behind:
                continue
            own = ast.unparse(node.targets[0]).partition(".")[2]  # behind "section." or "config."
            words, line = [behind[node.end_lineno]], node.end_lineno + 1
            while line in alone:
                words.append(alone[line])
                line += 1
            found[".".join(filter(None, (SECTIONS[function.name], own)))] = " ".join(words)
    return found


def page() -> str:
    """The Markdown of ``settings.md``."""
    source = DEFAULT.read_text()
    meaning = comments(source)
    order = {name: i for i, name in enumerate(meaning)}

    def key(name: str) -> str:
        return name if name in meaning else name.rpartition(".")[0]  # of a section that one line makes

    said = {node.name: ast.get_docstring(node) for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
    default, debug = (configuration.flatten(configuration.load(name)) for name in ("default", "fast_debug"))
    parts = [HEAD]
    for function, section in SECTIONS.items():
        names = sorted((name for name in default if _section_of(name) == section), key=lambda name: order[key(name)])
        parts.append(f"## {f'`{section}`' if section else 'The run'}\n")
        if section:
            parts.append(f"{said[function]}\n")
        parts.append("| setting | default | debug | must be | feeds | meaning, unit |\n|---|---|---|---|---|---|")
        for name in names:
            other = f"`{debug[name]!r}`" if debug[name] != default[name] else ""
            row = (f"`{name}`", f"`{default[name]!r}`", other, SETTINGS[name].allowed, _feeds(SETTINGS[name]))
            parts.append(f"| {' | '.join(row)} | {meaning[key(name)].replace('<', '&lt;')} |")
        parts.append("")
    return "\n".join(parts)


def _feeds(setting: Setting) -> str:
    """The field that holds the setting, or what is converted from it."""
    fields = ", ".join(f"`{field}`" for field in setting.feeds)
    return fields if setting.target else f"{fields}, converted"


def _section_of(name: str) -> str:
    """The longest section that a dotted name lies in."""
    inside = [section for section in SECTIONS.values() if section and name.startswith(f"{section}.")]
    return max(inside, key=len, default="")


if __name__ == "__main__":
    (DOCS / "settings.md").write_text(page())
