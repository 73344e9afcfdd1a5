"""The commands that build the documentation fail on a dead link: a build that is quiet counts no warnings.

With ``AMARL_SITE=DIR`` the site that was built there is looked at too.
"""

import dataclasses
import importlib.util
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import amarl_jax

pytest.importorskip("mkdocs", reason="pip install 'amarl_jax[docs]'")
pytest.importorskip("nbconvert", reason="pip install 'amarl_jax[docs]'")

ROOT = Path(__file__).parents[2]
CALLERS = (".ci/run", ".pre-commit-config.yaml")
CONFIG = {  # the site's own, with a page of its own and no API pages
    "INHERIT": str(ROOT / "mkdocs.yml"),
    "docs_dir": "pages",
    "nav": [{"Page": "index.md"}],
    "hooks": [],
    "plugins": [],
}


def flags(caller):
    """What a script or a hook gives ``mkdocs build``, without where the site goes."""
    (found,) = re.findall(
        r"(?m)(?:bin/|entry: )mkdocs build((?: --[\w-]+(?: \"[^\"]*\")?)*)$", (ROOT / caller).read_text()
    )
    return re.sub(r" --site-dir \"[^\"]*\"", "", found).split()


def build(caller, page, folder):
    (folder / "pages").mkdir()
    (folder / "pages" / "index.md").write_text(page)
    (folder / "mkdocs.yml").write_text(yaml.safe_dump(CONFIG))
    line = [sys.executable, "-m", "mkdocs", "build", *flags(caller), "--site-dir", str(folder / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(line, capture_output=True, text=True, env=environment, cwd=folder, check=False)


@pytest.mark.integration
@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize(
    ("mark", "link"),
    [("", "absent.md"), ("", "sections"), ("", "#no-such-heading"), ("!", "absent.png")],
    ids=["file", "folder", "heading", "image"],
)
def test_a_dead_link_fails_the_build(caller, mark, link, tmp_path):
    done = build(caller, f"# Page\n\nA {mark}[dead link]({link}).\n", tmp_path)
    assert done.returncode == 1, done.stderr
    (warning,) = (line for line in done.stderr.splitlines() if line.startswith("WARNING"))
    assert f"'{link}'" in warning


@pytest.mark.integration
@pytest.mark.parametrize("caller", CALLERS)
def test_a_page_whose_links_live_is_built(caller, tmp_path):
    done = build(caller, "# Page\n\nA [link](index.md#page).\n", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "index.html").is_file()


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("site_pages", ROOT / "docs" / "site_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Page:
    class file:
        src_uri = "page.md"


def test_a_formula_becomes_what_a_browser_draws(hooks):
    html = r'<p><span class="arithmatex">\(a &lt; \frac{1}{2}\)</span> <code>no.dot$here</code></p>'
    made = hooks.on_page_content(html, Page, None, None)
    assert re.search("<mo>&(lt|#x0003C);</mo><mfrac>.*</mfrac></mrow></math>", made)
    assert "arithmatex" not in made


@pytest.mark.parametrize("text", [r'<div class="arithmatex">\[\nosuchcommand\]</div>', "<p>costs $x$</p>"])
def test_a_formula_that_is_not_read_is_a_warning(text, hooks, caplog):
    with caplog.at_level(logging.WARNING):
        hooks.on_page_content(text, Page, None, None)
    assert "formula" in caplog.text


def test_a_name_breaks_behind_a_dot_and_not_in_a_block(hooks):
    html = "<code>a_b.c_d=1</code> <pre><code>a.b</code></pre>"
    made = hooks.on_page_content(html, Page, None, None)
    assert made == "<code>a_b.<wbr>c_d=<wbr>1</code> <pre><code>a.b</code></pre>"


@pytest.fixture(scope="module")
def site():
    """The built pages by their place."""
    if "AMARL_SITE" not in os.environ:
        pytest.skip("mkdocs build --strict --site-dir DIR, then AMARL_SITE=DIR")
    folder = Path(os.environ["AMARL_SITE"])
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*.html")}


LOADED = re.compile(r"<(?:script|img|iframe|link)\b[^>]*?\b(?:src|href)=[\"']?((?:https?:)?//[^\s\"'>]+)")


def test_the_site_loads_nothing_from_elsewhere(site):
    loaded = {(page, address) for page, text in site.items() for address in LOADED.findall(text)}
    canonical = {(page, address) for page, address in loaded if f'rel="canonical" href="{address}"' in site[page]}
    assert not loaded - canonical
    assert not [page for page, text in site.items() if "arithmatex" in text]
    assert site["theory.html"].count("<math") > 100


def test_the_home_page_has_a_figure_and_how_to_begin(site):
    home = site["index.html"]
    assert "exact/curve.png" in home
    assert "pip install" in home
    assert "amarl_jax.train" in home


def test_what_the_package_offers_has_a_page_each_with_its_fields(site):
    pages = {page.removeprefix("api/").removesuffix(".html") for page in site if page.startswith("api/")}
    assert set(amarl_jax.__all__) <= pages
    assert pages - set(amarl_jax.__all__) <= {path.stem for path in (ROOT / "amarl_jax").glob("*.py")}
    for name in ("EnvParams", "MarketSpec", "Actions"):
        there = getattr(amarl_jax, name)
        names = [field.name for field in dataclasses.fields(there)]
        assert not [field for field in names if f"{name}.{field}" not in site[f"api/{name}.html"]]
    limits = site["api/EnvParams.html"]
    assert "psi_max</p>" in limits, "the heading of the fields behind it is not its comment"
    assert "psi_max latency" not in limits


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_is_a_page_with_its_outputs(path, site):
    page = site[f"notebooks/{path.stem}.html"]
    outputs = [output for cell in json.loads(path.read_text())["cells"] for output in cell.get("outputs", [])]
    pictures = sum("image/png" in output.get("data", {}) for output in outputs)
    assert page.count(f"{path.stem}_files/") == pictures
    first = next(("".join(output["text"]) for output in outputs if output["output_type"] == "stream"), "")
    words = [word for word in re.findall(r"[a-z]{4,}", first.partition("\n")[0]) if word not in ("dtype",)]
    assert all(word in page for word in words)
    assert "\x1b" not in page
