"""Results that README and docs quote are of the present program; run by ``.ci/run`` in the checkout itself.

Its golden metrics say since which commit its numbers are what they are: a quoted file is of that commit or a later one.
"""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EARLIER = "## Measured by earlier programs"  # the section of docs/results.md that names folders and no number
BESIDE = ("/config.json", "/metrics.jsonl")  # of a run, beside the evaluation that says which commit it was


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


def quoted(text):
    """Result files that a text whose paths begin at the root names, but in what it says an earlier program measured.

    What is said holds for a paragraph, or for a row of a table.
    """
    blocks = re.split(r"\n\n|\n(?=\|)", text)
    present = "\n".join(block for block in blocks if "earlier program" not in " ".join(block.split()))
    links = set(re.findall(r"[(`](experiments/[^)#`\s]+\.(?:jsonl?|md))[)#`]", present))
    return {link for link in links if not link.endswith(BESIDE)}


def older(text, since):
    """Quoted result files of older programs."""
    return {
        link
        for link in quoted(text)
        for commit in commits_of(ROOT / link)
        if not git("merge-base", "--is-ancestor", since, commit)
    }


@pytest.fixture
def since():
    found = json.loads((ROOT / "tests/fixtures/golden_metrics.json").read_text())["since"]
    if not git("cat-file", "-e", found):
        without = pytest.fail if os.environ.get("GITHUB_ACTIONS") else pytest.skip  # its checkout is whole
        without("a checkout without its history")
    return found


def page(path):
    """Text of a page with its links as paths from the root, without the section that quotes nothing."""
    text = path.read_text()
    if path.name == "results.md":
        before, _, section = text.partition(EARLIER)
        text = before + section[section.index("\n## ") :]
    return text if path.parent == ROOT else text.replace("](../", "](")


def test_quoted_results_are_of_the_present_program(since):
    found = {path.name: older(page(path), since) for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))}
    assert not {name: links for name, links in found.items() if links}


def unmarked(text, since):
    """Commits in a report that lie before ``since`` and are not called older there, or are and do not."""
    found = re.findall(r"`([0-9a-f]{10})\+?`( \(older program\))?", text)
    known = [(commit, mark) for commit, mark in found if git("cat-file", "-e", commit)]
    return {commit for commit, mark in known if git("merge-base", "--is-ancestor", since, commit) == bool(mark)}


def test_every_report_says_which_of_its_numbers_are_of_an_older_program(since):
    reports = {path: path.read_text() for path in (ROOT / "experiments").rglob("*.md")}
    commits = [commit for text in reports.values() for commit in re.findall(r"`[0-9a-f]{10}\+?`", text)]
    assert len(commits) > 20, "reports name their commits as ten digits in backquotes"
    wrong = {str(path.relative_to(ROOT)): unmarked(text, since) for path, text in reports.items()}
    assert not {path: commits for path, commits in wrong.items() if commits}


def test_a_missing_mark_and_a_wrong_one_are_seen(since):
    assert unmarked("commit `5071d7d264`, 3 seeds", since) == {"5071d7d264"}
    assert not unmarked("commit `5071d7d264` (older program), 3 seeds", since)
    assert unmarked(f"commit `{since[:10]}` (older program)", since) == {since[:10]}


def test_a_result_of_an_older_program_is_seen(since):
    link, code = "[co-evolution](experiments/coevolution/default.json)", "`experiments/replay/ablation.md` has it"
    assert len(older(f"{link}, {code}", since)) == 2
    assert not older(f"Measured by an earlier\nprogram: {link}, {code}", since)
    assert older(f"By an earlier program.\n\n{link}", since), "said of another paragraph"
    assert older(f"| by an earlier program |\n| {link} |", since), "said of another row"
