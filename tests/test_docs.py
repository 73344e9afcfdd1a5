"""What the documents say of the code is what the code says, and their links lead somewhere."""

import importlib.util
import json
import re
import shlex
import tomllib
from pathlib import Path

import jax
import pytest
import yaml

import amarl_jax
from amarl_jax import __main__ as main_module
from amarl_jax import compare, evaluate, fit_flow, leakage, random_play, replay_lobster, sweep, train
from amarl_jax import config as configuration
from amarl_jax.adapters.playable import Playable
from amarl_jax.config.settings import SETTINGS
from amarl_jax.host import cli

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
COMMANDS = {
    "train": train,
    "sweep": sweep,
    "evaluate": evaluate,
    "random_play": random_play,
    "fit_flow": fit_flow,
    "replay_lobster": replay_lobster,
    "compare": compare,
    "leakage": leakage,
}
PAGES = sorted([*DOCS.glob("*.md"), *ROOT.glob("*.md")])
REPORTS = sorted(ROOT.glob("experiments/**/*.md"))
CODE = re.compile(r"^ *```.*?^ *```|`[^`\n]+`", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")


def generator_of(page):
    spec = importlib.util.spec_from_file_location(f"generate_{page}", DOCS / f"generate_{page}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def generator():
    return generator_of("settings")


def test_the_page_of_metrics_is_what_their_tables_say():
    assert (DOCS / "metrics.md").read_text() == generator_of("metrics").page(), "python docs/generate_metrics.py"


def test_the_page_of_settings_is_what_the_configurations_say(generator):
    page = (DOCS / "settings.md").read_text()
    assert page == generator.page(), "python docs/generate_settings.py writes it anew"
    assert all(f"| `{name}` |" in page for name in SETTINGS)


def test_comments_are_read_with_their_continuation(generator):
    source = (
        'def training():\n    section.a = 1  # one;\n    #    two\n    section.b.c = "#"  # three\n    section.d = 4\n'
    )
    assert generator.comments(source) == {"training.a": "one; two", "training.b.c": "three"}


def anchor(heading):
    """The name that a heading is linked by."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES + REPORTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_to_files_and_headings_that_exist(page):
    text = CODE.sub("", page.read_text())
    dead = []
    for link in (first or second for first, second in LINK.findall(text)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, heading = link.partition("#")
        target = (page.parent / path) if path else page
        headings = re.findall(r"(?m)^#+ (.*)$", target.read_text()) if heading and target.is_file() else []
        if not target.exists() or (heading and heading not in map(anchor, headings)):
            dead.append(link)
    assert not dead


def commands_of(text):
    """Command lines of this package in a page: fenced or between backquotes, continued lines joined."""
    joined = text.replace("\\\n", " ")
    found = re.findall(r"(?:\S*python[\d.]* -m amarl_jax\.|amarl-(?=\w))([\w-]+)([^`\n]*)", joined)
    return [(name.replace("-", "_"), rest.split(" && ")[0].split("#")[0].strip()) for name, rest in found]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_commands_in_the_pages_have_only_flags_and_settings_that_exist(page):
    """Each flag, setting and configuration of a command line is one; nothing is run."""
    for name, rest in commands_of(page.read_text()):
        assert name in main_module.COMMANDS, name
        arguments = [word for word in shlex.split(rest.replace("\\|", "|")) if word.startswith("--")]
        if {"...", "…"} & set(rest.split()):
            continue
        values = cli.parse(getattr(COMMANDS[name], "define_flags", cli.define_run_flags), [name, *arguments])
        if "config" in values and values.config is not None:
            configuration.validate(values.config)


def test_the_spaces_in_the_game_page_are_those_of_the_market():
    experiment = configuration.resolve(configuration.load("configs/default.py"))
    playable = Playable(experiment.market_spec, experiment.env_params)
    state = jax.eval_shape(playable.reset, jax.random.key(0))
    sizes = (*playable.observation_sizes, *jax.eval_shape(playable.global_features, state).shape)
    said = dict(re.findall(r"(?m)^\| (\(?\w+\)?) \| \((\d+),\), unbounded", (DOCS / "game.md").read_text()))
    assert tuple(map(int, said.values())) == sizes
    market = experiment.market_spec
    row = f"`[-1, 1] x [{market.offset_min_ticks}, {market.offset_max_ticks}] x R`"
    assert row in (DOCS / "game.md").read_text()


def test_orders_at_rest_in_the_configurations_are_those_of_their_file():
    """By configuration, the largest of all policies."""
    found = json.loads((ROOT / "experiments/foundation/market.json").read_text())["results"]
    for config, market in (("default", "default"), ("lambda_sweep", "lean")):
        policies = found[market]["policies"].values()
        most = max(row["resting_orders_per_side"]["p99.9_of_peaks"] for row in policies)
        said = f"in 99.9% of episodes of experiments/foundation at most {most:.0f}\n"
        assert said in (ROOT / "configs" / f"{config}.py").read_text()


def test_no_page_names_a_file_of_the_repository_that_is_gone():
    tops = "amarl_jax|configs|docs|experiments|notebooks|tests"
    named = {
        (page.name, path) for page in PAGES for path in re.findall(rf"`((?:{tops})/[\w./-]+\.\w+)`", page.read_text())
    }
    assert len(named) > 20
    assert not {(page, path) for page, path in named if not (ROOT / path).exists()}


def test_the_workflow_runs_the_one_script_on_every_python_that_is_declared():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    versions = [line.rpartition(" ")[2] for line in declared if re.search(r"3\.\d+$", line)]
    job = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]["ci"]
    assert job["strategy"]["matrix"]["python"] == versions
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    pinned = [set((ROOT / f"constraints-{version}.txt").read_text().lower().split()) for version in versions]
    for tool in ("mkdocs-material", "mkdocstrings-python", "mypy", "ruff", "pre_commit"):
        assert all(any(line.startswith(f"{tool}==") for line in lines) for lines in pinned), tool


def test_the_version_is_one():
    assert f"\nversion: {amarl_jax.__version__}\n" in (ROOT / "CITATION.cff").read_text()
