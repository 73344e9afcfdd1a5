"""The README and what it hands on: blocks are run, commands parse, links lead somewhere, numbers are the files'."""

import importlib
import importlib.util
import io
import json
import math
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest
from rich.console import Console

from amarl_jax import compare, evaluate, sweep
from amarl_jax import config as configuration
from amarl_jax.evaluation.closing_report import closing_rows
from amarl_jax.evaluation.metrics import Evaluation, MetricValue
from amarl_jax.host import cli
from amarl_jax.host.runlog import closing_table
from amarl_jax.learn.hypers import LearnSpec

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
README, CONFIGURATION, RESULTS = (
    (ROOT / name).read_text() for name in ("README.md", "docs/configuration.md", "docs/results.md")
)
FENCED = re.compile(r"(?:<!-- ci:(\w+) -->\n)?```(\w*)\n(.*?)```\n(?:\n```text\n(.*?)```\n)?", re.DOTALL)
SMALLER = {"training.total_timesteps": 384, "sweep.lanes_at_once": 4}  # two updates; lanes of tests/lanes/test_sweep.py
WORDS = 900


class Block(NamedTuple):
    mark: str  # name after "ci:", if it has one
    language: str
    text: str
    output: str  # the text block that follows it


def blocks(text):
    return [Block(*(part or "" for part in match.groups())) for match in FENCED.finditer(text)]


BLOCKS = blocks(README)
PYTHON = [block for block in BLOCKS + blocks(CONFIGURATION) if block.language == "python"]
COMMANDS = [
    (module, arguments.replace("\\\n", " "))
    for module, arguments in re.findall(r"python -m (amarl_jax\.\w+)((?:\\\n|[^`\n])*)", README + CONFIGURATION)
]


def test_no_fenced_block_is_left_to_nobody():
    assert README.count("```") == 2 * sum(1 + bool(block.output) for block in BLOCKS)
    script = (ROOT / ".ci/run").read_text()
    for block in BLOCKS:
        if block.language == "bash":
            assert block.mark, block.text
            assert re.search(rf"^as_newcomer {block.mark}\b", script, re.MULTILINE), block.mark
        elif block.language != "python":  # pictures and data flow
            assert "python" not in block.text, block.text
    assert {block.mark for block in BLOCKS if block.language == "bash"} == {"run", "test"}
    assert sum(block.language == "python" for block in BLOCKS) == 1
    assert len(PYTHON) == 4


@pytest.mark.parametrize(
    ("block", "n_lines"), list(zip(PYTHON, (0, 1, 10, 0), strict=True)), ids=["readme", "train", "sweep", "flow"]
)
def test_a_python_block_runs_and_prints_what_stands_below_it(block, n_lines, tmp_path, monkeypatch, capsys):
    """Or, below the log of a run, lines of three numbers and a fourth or its unit, as many as it has to."""
    load, measure = configuration.load, evaluate.evaluate

    def load_smaller(path, overrides=None):
        with monkeypatch.context() as patch:
            patch.setattr(configuration, "load", load)  # configurations load one another
            load(path, overrides)  # the block's own must be right as well
            return load("configs/fast_debug.py:tiny", {**(overrides or {}), **SMALLER})

    monkeypatch.setattr(configuration, "load", load_smaller)
    monkeypatch.setattr(evaluate, "evaluate", lambda workdir, n_episodes: measure(workdir, 96))
    monkeypatch.chdir(tmp_path)
    exec(compile(block.text, "README.md", "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out
    if block.output:
        assert printed == block.output
    number = r"-?\d[\d.e-]*"
    assert len(re.findall(rf"^(?:{number} ){{3}}(?:{number}|nats)$", printed, re.MULTILINE)) == n_lines


@pytest.mark.parametrize(("module", "arguments"), COMMANDS, ids=[module for module, _ in COMMANDS])
def test_a_command_has_the_flags_it_is_given(module, arguments):
    command = importlib.import_module(module)
    define = getattr(command, "define_flags", cli.define_run_flags)
    words = shlex.split(arguments, comments=True)
    if command is compare:  # which takes its runs without a flag
        words = [word for word in words if word.startswith("--")]
    cli.parse(define, [module, *words])


def test_scripts_and_their_flags_exist():
    scripts = re.findall(r"`python (experiments/\S+\.py)([^`]*)`", RESULTS)
    assert scripts
    for script, arguments in scripts:
        source = (ROOT / script).read_text()
        for flag in re.findall(r"--(\w+)", arguments):
            assert flag in source, (script, flag)
    assert "python -m pytest --cov=amarl_jax" in CONFIGURATION
    assert importlib.util.find_spec("pytest_cov")


def test_flags_of_the_reference_lead_to_settings_and_flags_that_exist():
    table = CONFIGURATION[CONFIGURATION.index("| its flag | here |") :].split("\n\n")[0]
    for flag in ("exp-name", "override", "checkpoint", "n-steps", "n-eval-episodes", "noise-episodes"):
        assert f"| `--{flag}" in table
    settings = [name for name in re.findall(r"`--config\.([\w.]+)=", table) if name != "a.b"]
    assert set(settings) == {"exp_name", "eval_episodes"}
    cli.parse(sweep.define_flags, ["sweep", "--n_lambdas=8"])
    for name in settings:
        configuration.check_name(name)
    cli.parse(evaluate.define_flags, ["evaluate", "--workdir=runs/x", "--n_episodes=64"])


def test_links_lead_somewhere_and_it_is_short():
    for link in re.findall(r"\]\(([^)#:]+)[^):]*\)", README):
        assert (ROOT / link).exists(), link
    assert len(README.split()) < WORDS


def read(path):
    return json.loads((ROOT / "experiments" / path).read_text())


def rows_of(path):
    """Rows of a result file, one a line."""
    return [json.loads(line) for line in (ROOT / "experiments" / path).read_text().splitlines()]


def test_the_table_below_the_first_command_is_that_of_the_committed_run():
    """Lines of the closing table as it was printed, some left out, in their order."""
    document = read("first_run/evaluation.json")
    metrics = {name: MetricValue(x["value"], x["stderr"] or math.nan) for name, x in document["metrics"].items()}
    run = document["provenance"]["config"]
    learn = LearnSpec(
        mi_estimator=run["networks"]["mine"]["estimator"], leakage_source=run["agents"]["execution"]["leakage_source"]
    )
    counts = [document[name] for name in ("n_episodes", "n_informed")]
    evaluation = Evaluation(metrics, *counts, None, n_read=document["n_read_exactly"])
    title, rows = closing_rows(evaluation, learn)
    console = Console(width=160, file=io.StringIO())
    closing_table(title, rows, console)
    printed = [line.rstrip() for line in console.file.getvalue().splitlines()]
    said = next(block for block in BLOCKS if block.mark == "run").output.splitlines()
    assert len(said) >= 8
    assert [line for line in printed if line in said] == said


def test_tables_of_the_exact_reader_are_those_of_its_report():
    """The report's own tables are computed from its rows."""
    tables = re.findall(r"(?:^\|.*\n)+", RESULTS[: RESULTS.index("## What limits")], re.MULTILINE)
    report = (ROOT / "experiments/exact/README.md").read_text()
    assert len(tables) == 2
    assert all(table.strip() in report for table in tables)
    rows = {row["row"]: row for row in rows_of("exact/rows.jsonl")}
    width = {
        name: row["information/exact_nats_upper"]["value"] - row["information/exact_nats_lower"]["value"]
        for name, row in rows.items()
    }
    lanes, twap = max(width[name] for name in rows if "lambda" in name), width["twap_camouflaged"]
    assert max(width.values()) == twap
    said = f"Brackets of the lanes are at most {lanes:.3f} nats wide, that of camouflaged TWAP {twap:.3f}"
    assert said in " ".join(RESULTS.split())


def test_its_numbers_are_those_of_the_files():
    first = read("first_run/evaluation.json")["metrics"]
    laws = read("calibration/estimators.json")["rows"] + read("calibration/seeds.json")["rows"]
    paid = {row["row"]: row for row in rows_of("exact/limits.jsonl") if row["row"].startswith("exact")}
    report = (ROOT / "experiments/exact/README.md").read_text()
    table = report[report.index("Charged for what leaks") :].split("\n\n")[1].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    leaked, cost = first["information/exact_nats"], first["execution/shortfall_ticks"]
    lost = [row["untold"]["lost"]["nats"] / row["untold"]["told"] for row in paid.values()]
    labels, soft, wide = (
        ", ".join(f"{100 * row['fits'][fit]['nats'] / row['exact']['nats']:.0f}%" for row in paid.values())
        for fit in ("labels", "exact", "exact, twice the width and time")
    )
    cost_of = {(row["run"], row["source"]): row for row in read("exact/cost.json")["rows"]}
    in_readme = (
        f"at `lambda` = {', '.join(row[0] for row in cells)} the trader",
        f"leaks {', '.join(row[4] for row in cells)} nats",
        f"pays {', '.join(f'{float(row[2]):.2f}' for row in cells)} units",
        f"Trained on 16,384 episodes {', '.join(row[5] for row in cells)}, on 1,024",
        f"on 1,024 episodes {cells[0][6]} to {cells[-1][6]}",
        f"shortfall of {cost['value']:.2f} ± {cost['stderr']:.2f} ticks a lot",
        f"{first['execution/completion']['value']:.1%} done",
        f"{leaked['value']:.3f} ± {leaked['stderr']:.3f} nats leaked",
        f"a fresh detector finds {first['information/fresh_nats']['value']:.3f}",
        f"claims {first['information/belief_nats']['value']:.3f}, MINE {first['information/mine_nats']['value']:.3f}",
        f"on {sum(row['within'] for row in laws)} of {len(laws)} estimates of {len({row['law'] for row in laws})} laws",
    )
    in_results = (
        f"the same reader loses {', '.join(f'{100 * share:.0f}%' for share in lost)} of the information",
        f"finds {labels} with 12,288 episodes",
        f"it finds {soft}.",
        f"twice the time: {wide}.",
        f"{cost_of['debug', 'exact']['times_mine']:.2f} times the time of `mine` in the debug market",
        f"{cost_of['default', 'exact']['times_mine']:.2f} times with the default networks",
    )
    for page, numbers in ((README, in_readme), (RESULTS, in_results)):
        for said in numbers:
            assert said in " ".join(page.split()), said
