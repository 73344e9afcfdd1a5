"""The README and what it hands on: blocks are run, commands parse, links lead somewhere, numbers are the files'."""

import importlib
import importlib.util
import json
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest

from amarl_jax import config as configuration
from amarl_jax import evaluate, sweep
from amarl_jax.host import cli

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
    cli.parse(define, [module, *shlex.split(arguments, comments=True)])


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


def test_the_reference_s_expectations_stand_beside_what_was_measured():
    """The table is the report's, which the report's own tests hold to the lanes."""
    start = RESULTS.index("| lambda | KL, nats: expected")
    table = RESULTS[start:].split("\n\n")[0]
    assert len(table.splitlines()) == 2 + 5
    assert table in (ROOT / "experiments/lambda_sweep/cpu/results.md").read_text()


def test_its_numbers_are_those_of_the_files():
    policies = read("foundation/market.json")["results"]["default"]["policies"]
    mimic, hasty = policies["mimic"], policies["twap_10_steps_clips_of_5"]
    first = read("first_run/evaluation.json")["metrics"]
    updates = (ROOT / "experiments/first_run/metrics.jsonl").read_text().splitlines()
    seconds = [json.loads(row)["wall_seconds"] for row in updates]
    laws = read("calibration/estimators.json")["rows"] + read("calibration/seeds.json")["rows"]
    books = next(r for r in read("benchmarks/book_cpu.json")["messages"] if (r["capacity"], r["batch"]) == (64, 1024))
    played = next(
        r for r in read("benchmarks/book_steps_cpu.json")["steps"] if (r["book_capacity"], r["batch"]) == (96, 1024)
    )
    default, debug = (
        next(row for row in read(f"benchmarks/train_{name}_cpu.json")["updates"] if row["n_envs"] == 256)
        for name in ("default", "fast_debug")
    )
    sweep = read("lambda_sweep/cpu/main/sweep.json")
    half = sweep["located"]["main"]["lambda_half"]
    curve = (ROOT / "experiments/lambda_sweep/cpu/results.md").read_text()
    nats = {penalty: re.search(rf"^\| {penalty} \| 8 \| (.*?) \|", curve, re.MULTILINE)[1] for penalty in (0, 4, 16)}
    credit = read("credit/gaussian_sender.json")["results"].values()
    arms = [read(f"coevolution/{arm}.json") for arm in ("alternating", "simultaneous", "no_arbitrageur")]
    coevolution = (ROOT / "experiments/coevolution/README.md").read_text()
    moves = re.search(r"^\| KL of the maker's .*? \| (\S+) ± \S+ \| (\S+) ±", coevolution, re.MULTILINE)
    known = read("baselines/baselines.json")["markets"]["default"]
    twap, camouflaged = (known[name]["information_nats"] for name in ("twap", "twap_camouflaged"))
    leaked, cost = first["information/exact_nats"], first["execution/shortfall_ticks"]
    in_readme = (
        f"leaks {mimic['information_nats']['value']:.3f} ± {mimic['information_nats']['stderr']:.3f} nats",
        f"fills {mimic['completion']['value']:.1%} of its order",
        f"leak {hasty['information_nats']['value']:.3f} and cost {hasty['shortfall_ticks']['value']:.1f} ticks a lot",
        f"instead of {mimic['shortfall_ticks']['value']:.1f}",
        f"shortfall of {cost['value']:.2f} ± {cost['stderr']:.2f} ticks a lot",
        f"{first['execution/completion']['value']:.1%} done",
        f"{leaked['value']:.3f} ± {leaked['stderr']:.3f} nats leaked",
        f"a fresh detector finds {first['information/fresh_nats']['value']:.3f}",
        f"claims {first['information/belief_nats']['value']:.3f}, MINE {first['information/mine_nats']['value']:.3f}",
        f"on {sum(row['within'] for row in laws)} of {len(laws)} estimates of {len({row['law'] for row in laws})} laws",
        f"From {nats[0]} nats at 0 to {nats[4]} at 4 and {nats[16]} at 16",
        f"half way at {half['value']:.2f} [{half['lower']:.2f}, {half['upper']:.2f}]",
        f"moves {moves[1]} nats a point instead of {moves[2]}",
        f"TWAP {twap['value']:.3f} ± {twap['stderr']:.3f} nats",
        f"{camouflaged['value']:.3f} ± {camouflaged['stderr']:.3f}",
    )
    in_results = (
        f"{sum(seconds[1:]):.0f} s of updates after the first",
        f"{sweep['cpu_seconds'] / 60:.0f} CPU-minutes",
        f"{sum(arm['cpu_seconds'] for arm in arms)} CPU-seconds",
        f"{read('covert_game/covert_game.json')['cpu_seconds']:.0f} CPU-seconds",
        f"{read('theory/phase_diagram.json')['wall_seconds']:.1f} s",
        f"{read('baselines/baselines.json')['cpu_seconds']:.0f} CPU-seconds",
        f"gaussian_sender.py` | {sum(max(rows[-1]['seconds'] for rows in run.values()) for run in credit):.0f} s |",
        f"{books['rates']['table']['messages_per_wall_s']:,.0f} messages a second",
        f"{books['ratios_per_cpu_s']['table / naive']:.1f} times a naive",
        f"{books['ratios_per_cpu_s']['table / tidied']:.2f} times a tidied",
        f"{played['rates']['table']['steps_per_wall_s']:,.0f} environment steps a second",
        f"{default['env_steps_per_cpu_second']:,.0f} steps a second of one core",
        f"[{debug['env_steps_per_cpu_second']:,.0f}]",
    )
    for page, numbers in ((README, in_readme), (RESULTS, in_results)):
        for said in numbers:
            assert said in " ".join(page.split()), said
