"""Results that README and docs/results.md quote are of the present program; run by ``.ci/run`` in the checkout itself.

Its golden metrics say since which commit its numbers are what they are: a quoted file is of that commit or a later one.
"""

import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NO_MARKET = ("benchmarks/", "calibration/")  # the book's speed, estimators of arrays: nothing that trains in the market
EARLIER = "## Measured by earlier programs"  # the section of docs/results.md that names folders and no number


def git(*arguments):
    """Whether git says yes."""
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False).returncode == 0


def commits_of(path):
    """Commits that wrote a result file, or the files of the report of a folder: its rows.jsonl, or all there is."""
    rows = path.with_name("rows.jsonl")
    of_a_report = [rows] if rows.exists() else sorted(path.parent.glob("*.json*"))
    text = "".join(file.read_text() for file in (of_a_report if path.suffix == ".md" else [path]))
    found = set(re.findall(r'"commit": *"([0-9a-f]{40})\+?"', text))
    assert found, f"{path} does not say which commit wrote it"
    return found


def older(text, since):
    """Links to result files of older programs in a text whose paths begin at the root."""
    links = set(re.findall(r"\]\((experiments/[^)#]+\.(?:json|md))[)#]", text))
    links = {link for link in links if not link.removeprefix("experiments/").startswith(NO_MARKET)}
    links = {link for link in links if not link.endswith("/config.json")}  # of a result that stands beside it
    assert links
    return {
        link
        for link in links
        for commit in commits_of(ROOT / link)
        if not git("merge-base", "--is-ancestor", since, commit)
    }


@pytest.fixture
def since():
    found = json.loads((ROOT / "tests/fixtures/golden_metrics.json").read_text())["since"]
    if not git("cat-file", "-e", found):
        pytest.skip("a checkout without its history")
    return found


def test_quoted_results_are_of_the_present_program(since):
    results = (ROOT / "docs/results.md").read_text()
    quoted = (ROOT / "README.md").read_text() + results[: results.index(EARLIER)].replace("](../", "](")
    assert not older(quoted, since)


def test_a_result_of_an_older_program_is_seen(since):
    assert older("[co-evolution](experiments/coevolution/default.json)", since)
