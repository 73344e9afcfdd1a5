"""What a user sees of a stage that takes long."""

import io

import jax
import pytest
from rich.console import Console

from amarl_jax import config as configuration
from amarl_jax.host import stages
from amarl_jax.host.stages import stage


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass as a test says."""
    now = [0.0]
    monkeypatch.setattr(stages.time, "perf_counter", lambda: now[0])
    return now


def lines(console):
    return console.file.getvalue().splitlines()


def test_a_file_gets_a_line_at_the_beginning_some_on_the_way_and_what_it_took(clock):
    console = Console(file=io.StringIO(), width=100)
    with stage("measuring", 4, "lanes", console=console) as under_way:
        for seconds in (3.0, 9.0, 4.0, 4.0):
            clock[0] += seconds
            under_way.advance()
    assert lines(console) == ["measuring", "measuring: 2 of 4 lanes, 12s left", "measuring: 20s"]


def test_a_short_stage_says_what_it_is_and_no_more(clock):
    console = Console(file=io.StringIO(), width=100)
    with stage("drawing", console=console):
        clock[0] += 1.0
    assert lines(console) == ["drawing"]


def test_a_terminal_gets_a_bar_with_units():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with stage("measuring", 2, "lanes", console=console) as under_way:
        under_way.advance()
    shown = console.file.getvalue()
    assert "measuring" in shown
    assert "1/2" in shown
    assert "lanes" in shown


def test_a_quiet_stage_prints_nothing(clock):
    console = Console(file=io.StringIO())
    with stage("measuring", console=console, verbose=False):
        clock[0] += 60.0
    assert not lines(console)


def test_what_it_took_the_last_time_is_said_the_next_time(clock, tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "_file", lambda: tmp_path / "seconds.json")
    for _ in range(2):
        console = Console(file=io.StringIO(), width=100)
        with stage("compiling", remember="a run", console=console):
            clock[0] += 41.0
    assert lines(console) == ["compiling, 41s the last time", "compiling: 41s"]
    other = Console(file=io.StringIO(), width=100)
    with stage("compiling", remember="another", console=other):
        pass
    assert lines(other) == ["compiling"]


@pytest.mark.parametrize("content", ["", "[]", '{"compiling a run": "soon"}', "{"])
def test_a_file_of_seconds_that_nobody_wrote_is_no_news(content, tmp_path, monkeypatch):
    (tmp_path / "seconds.json").write_text(content)
    monkeypatch.setattr(stages, "_file", lambda: tmp_path / "seconds.json")
    console = Console(file=io.StringIO(), width=100)
    with stage("compiling", remember="a run", console=console):
        pass
    assert lines(console) == ["compiling"]


@pytest.mark.parametrize(("variant", "said"), [("", False), (":tiny", True)])
def test_a_run_too_short_to_learn_says_so(variant, said, capsys):
    experiment = configuration.resolve(configuration.load(f"configs/fast_debug.py{variant}"))
    stages.say_if_short(experiment)
    text = capsys.readouterr().out
    assert text == (
        "note: training.total_timesteps makes 3 updates of 192 steps, too few to learn anything: "
        "lambda changes nothing; 1,920 steps make 10\n"
        if said
        else ""
    )


def test_seconds_are_kept_beside_compiled_programs_and_nowhere_else():
    folder = jax.config.jax_compilation_cache_dir
    assert stages._file() is None if not folder else str(stages._file()).startswith(folder)


def test_a_quiet_stage_remembers_nothing(clock, tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "_file", lambda: tmp_path / "seconds.json")
    with stage("compiling", remember="a run", verbose=False):
        clock[0] += 41.0
    assert not (tmp_path / "seconds.json").exists()


@pytest.mark.parametrize(
    ("changes", "same"),
    [({"seed": 3, "agents.execution.lambda_leakage": 2.0}, True), ({"training.n_envs": 32}, False)],
)
def test_programs_of_the_same_sizes_are_remembered_together(changes, same):
    first, other = (configuration.resolve(configuration.load("configs/fast_debug.py", more)) for more in ({}, changes))
    assert (stages.of_sizes(first) == stages.of_sizes(other)) == same
