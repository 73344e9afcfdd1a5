"""Hooks of the built documentation: API pages, notebooks, files outside ``docs/`` that pages link to, formulas.

A page links to a result file or a figure by its path in the repository, as ``../experiments/theory/phase_diagram.png``,
and so reads the same where it lies. In the site such a file is ``files/experiments/theory/phase_diagram.png``, and a
notebook is a page with its outputs. Formulas become MathML, which browsers draw: the site needs no network.
"""

import html as html_text
import logging
import os
import posixpath
import re
from collections.abc import Callable
from pathlib import Path

import nbconvert
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import amarl_jax

log = logging.getLogger("mkdocs.hooks.site_pages")
ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
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
_READ = re.compile(r"<pre.*?</pre>|<code.*?</code>|<math.*?</math>", re.DOTALL)
_FORMULA = re.compile(r"<(span|div) class=\"arithmatex\">(?:\\\(|\\\[)(.*?)(?:\\\)|\\\])</\1>", re.DOTALL)
_PRE = re.compile(r"(<pre.*?</pre>)", re.DOTALL)
_CODE = re.compile(r"(<code[^>]*>)([^<]*)(</code>)")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_BADGE = re.compile(r"\[!\[([^\]]*)\]\([^)]*\)\]")  # a picture from elsewhere that is a link


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the generated pages into the navigation."""
    config.nav += [
        {"Notebooks": [f"notebooks/{path.stem}.md" for path in NOTEBOOKS]},
        {"API": [{name: f"api/{name}.md"} for name in api_pages()]},
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the API pages, the notebooks, every file that a page links to outside ``docs/``, and those these link to."""
    for name, text in api_pages().items():
        files.append(File.generated(config, f"api/{name}.md", content=text))
    for path in NOTEBOOKS:
        for uri, content in notebook_page(path).items():
            files.append(File.generated(config, uri, content=content))
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
    """Formulas become MathML, roles of docstrings code, names may break behind a dot and nowhere inside of a word.

    A formula, or a dollar, that nobody can read is a warning, which ends a strict build.
    """
    html = _FORMULA.sub(lambda found: _mathml(found, page), _ROLE.sub(r"<code>\1</code>", html))
    parts = _PRE.split(html)
    parts[::2] = [_CODE.sub(_breakable, part) for part in parts[::2]]
    html = "".join(parts)
    rest = _READ.sub("", html)
    if "$" in rest:
        at = rest.index("$")
        log.warning("%s: a formula is not read as one: ...%s...", page.file.src_uri, rest[max(0, at - 40) : at + 60])
    return html


def _mathml(found: re.Match[str], page: Page) -> str:
    """A formula that arithmatex has marked, as MathML."""
    latex = html_text.unescape(found[2])
    made = convert(latex, display="block" if found[1] == "div" else "inline")
    if "\\" in made:
        log.warning("%s: no MathML for a part of the formula %s", page.file.src_uri, latex)
    return made


def _breakable(found: re.Match[str]) -> str:
    """Inline code with places to break behind what joins words."""
    return found[1] + re.sub(r"(?<=[\w\])])([./=,]+)(?=\w)", r"\1<wbr>", found[2]) + found[3]


def notebook_page(path: Path) -> dict[str, str | bytes]:
    """The page of a notebook by its place in the site, and the pictures that it shows."""
    text, resources = nbconvert.MarkdownExporter().from_filename(str(path))
    folder = f"{path.stem}_files"
    for name in resources["outputs"]:
        text = text.replace(f"]({name})", f"]({folder}/{name})")
    where = f"[This notebook](../{MIRROR}/notebooks/{path.name}) as it ran, for Jupyter or Colab.\n\n"
    heading, _, rest = _BADGE.sub(r"[\1]", _ANSI.sub("", text)).partition("\n")
    pages: dict[str, str | bytes] = {f"notebooks/{path.stem}.md": f"{heading}\n\n{where}{rest}"}
    return pages | {f"notebooks/{folder}/{name}": data for name, data in resources["outputs"].items()}


def api_pages() -> dict[str, str]:
    """Name to Markdown of the reference, a page each: what the package offers, its commands, the conformance kit."""
    homes = {name: f"amarl_jax.{home}.{name}" for name, home in amarl_jax._HOMES.items()}
    modules = {name: f"amarl_jax.{name}" for name in ("config", *COMMANDS, "testing")}
    return {name: f"# `{name}`\n\n::: {place}\n" for name, place in (modules | homes).items()}


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
    if target in NOTEBOOKS:
        return f"notebooks/{target.stem}.md"
    return (
        target.relative_to(docs).as_posix() if target.is_relative_to(docs) else f"{MIRROR}/{target.relative_to(ROOT)}"
    )


def _map_links(markdown: str, change: Callable[[str], str]) -> str:
    """``markdown`` with ``change`` applied to the path of every link outside code."""
    parts = _FENCE.split(markdown)
    parts[::2] = [_LINK.sub(lambda found: found[1] + change(found[2]), part) for part in parts[::2]]
    return "".join(parts)
