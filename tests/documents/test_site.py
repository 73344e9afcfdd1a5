"""The commands that build the documentation fail on a dead link: a build that is quiet counts no warnings."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytest.importorskip("mkdocs", reason="pip install 'amarl_jax[docs]'")

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
@pytest.mark.parametrize("link", ["absent.md", "sections", "#no-such-heading"], ids=["file", "folder", "heading"])
def test_a_dead_link_fails_the_build(caller, link, tmp_path):
    done = build(caller, f"# Page\n\nA [dead link]({link}).\n", tmp_path)
    assert done.returncode == 1, done.stderr
    (warning,) = (line for line in done.stderr.splitlines() if line.startswith("WARNING"))
    assert f"'{link}'" in warning


@pytest.mark.integration
@pytest.mark.parametrize("caller", CALLERS)
def test_a_page_whose_links_live_is_built(caller, tmp_path):
    done = build(caller, "# Page\n\nA [link](index.md#page).\n", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "index.html").is_file()
