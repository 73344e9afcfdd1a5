"""Hooks of the built documentation: API pages, files outside ``docs/`` that pages link to, formulas left unread.

A page links to a result file or a figure by its path in the repository, as ``../experiments/theory/phase_diagram.png``,
and so reads the same where it lies. In the site such a file is ``files/experiments/theory/phase_diagram.png``.
"""

import logging
import os
import posixpath
import re
from collections.abc import Callable
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

log = logging.getLogger("mkdocs.hooks.site_pages")
ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "amarl_jax"
MIRROR = "files"  # folder of the site that holds what pages link to outside docs/

COMMANDS = (
    "train",
    "sweep",
    "evaluate",
    "compare",
    "leakage",
    "random_play",
    "fit_flow",
    "replay_lobster",
)
_FENCE = re.compile(r"(^ *```.*?^ *```|`[^`\n]+`)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(\]\(|(?:src|href)=\")([^)\s\"#]+)")
_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data):<code>~?([\w.]+)</code>")
_READ = re.compile(r"<pre.*?</pre>|<code.*?</code>|<(span|div) class=\"arithmatex\">.*?</\1>", re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the API pages, then every file that a page links to outside ``docs/``, and those that these link to."""
    for name, text in api_pages().items():
        files.append(File.generated(config, f"api/{name}.md", content=text))
    waiting = [file for file in files.documentation_pages() if file.abs_src_path]
    while waiting:
        page = waiting.pop()
        for target in _outside_targets(page):
            uri = f"{MIRROR}/{target.relative_to(ROOT).as_posix()}"
            if files.get_file_from_path(uri) is None:
                files.append(File.generated(config, uri, abs_src_path=str(target)))
                if target.suffix == ".md":
                    waiting.append(files.get_file_from_path(uri))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links by path in the repository become links by path in the site."""
    source = page.file.abs_src_path
    if source is None:
        return markdown

    def moved(path: str) -> str:
        target = _target(Path(source), path)
        if target is None or not target.exists():
            return path  # mkdocs will say so
        return posixpath.relpath(_site_uri(target), posixpath.dirname(page.file.src_uri) or ".")

    return _map_links(markdown, moved)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Roles of docstrings become code; a dollar that no formula took is a warning, which ends a strict build."""
    html = _ROLE.sub(r"<code>\1</code>", html)
    rest = _READ.sub("", html)
    if "$" in rest:
        at = rest.index("$")
        log.warning("%s: a formula is not read as one: ...%s...", page.file.src_uri, rest[max(0, at - 40) : at + 60])
    return html


def api_pages() -> dict[str, str]:
    """Name to Markdown of the reference: one page per package, one for the commands, one for the rest."""
    modules = sorted(path.stem for path in PACKAGE.glob("*.py") if not path.stem.startswith("_"))
    pages = {
        folder.name: _reference(folder.name, [f"amarl_jax.{folder.name}"])
        for folder in sorted(PACKAGE.iterdir())
        if (folder / "__init__.py").is_file()
    }
    pages["commands"] = _reference("commands", [f"amarl_jax.{name}" for name in COMMANDS])
    pages["package"] = _reference("all else", [f"amarl_jax.{name}" for name in modules if name not in COMMANDS])
    return pages


def _reference(title: str, modules: list[str]) -> str:
    return "\n\n".join([f"# API: {title}", *(f"::: {module}" for module in modules)]) + "\n"


def _outside_targets(page: File) -> list[Path]:
    """Files of the repository outside ``docs/`` that a page links to."""
    found: list[Path] = []

    def note(path: str) -> str:
        target = _target(Path(page.abs_src_path), path)
        if target and target.is_file() and not target.is_relative_to(ROOT / "docs"):
            found.append(target)
        return path

    _map_links(page.content_string, note)
    return found


def _target(page: Path, path: str) -> Path | None:
    """The file of this repository that a link means; None if it leads elsewhere."""
    if re.match(r"[a-z]+:|/", path):
        return None
    target = Path(os.path.normpath(page.parent / path))
    return target if target.is_relative_to(ROOT) else None


def _site_uri(target: Path) -> str:
    """Where in the site a file of the repository is."""
    docs = ROOT / "docs"
    return (
        target.relative_to(docs).as_posix() if target.is_relative_to(docs) else f"{MIRROR}/{target.relative_to(ROOT)}"
    )


def _map_links(markdown: str, change: Callable[[str], str]) -> str:
    """``markdown`` with ``change`` applied to the path of every link outside code."""
    parts = _FENCE.split(markdown)
    parts[::2] = [_LINK.sub(lambda found: found[1] + change(found[2]), part) for part in parts[::2]]
    return "".join(parts)
