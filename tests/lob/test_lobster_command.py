import json
import os
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from amarl_jax import replay_lobster
from amarl_jax.errors import BadInput
from amarl_jax.host import cli
from amarl_jax.lob.lobster import Following
from tests.lob.test_lobster import BY_HAND, CROSSED, FIXTURE, STEM
from tests.tiny_runs import jax_settings

__all__ = ["jax_settings"]

MESSAGES = f"--messages={FIXTURE / f'{STEM}_message_10.csv'}"
ORDERBOOK = f"--orderbook={FIXTURE / f'{STEM}_orderbook_10.csv'}"


def invoke(*arguments):
    return cli.run(replay_lobster.main, "Usage.", replay_lobster.define_flags, argv=["command", *arguments])


def test_the_curve_by_hand():
    agreeing = np.ones((4, 2, 2), bool)
    agreeing[1, 0, 0] = agreeing[3, 1] = False
    one = Following(0, np.array([0.0, 1.0, 6.0, 8.0]), agreeing, 0, 0, {})
    table = replay_lobster.curve([one], n_bins=4)
    assert table["from_seconds"] == [0, 2, 4, 6]
    assert table["rows"] == [2, 0, 0, 2]
    assert table["levels"] == [(1 + 3 / 4) / 2, None, None, (1 + 1 / 2) / 2]
    assert table["touch"] == [0.5, None, None, 0.5]


def test_disagreement_by_hand():
    agreeing, always = np.ones((3, 2, 2), bool), np.ones((3, 2, 2), bool)
    agreeing[1, 0] = agreeing[2, 1, 1] = False
    always[1, 0, 1] = always[2, 1, 1] = always[0] = False
    one = Following(0, np.arange(3.0), agreeing, 0, 0, {}, always_in_view=always)
    found = replay_lobster.levels_that_disagree([one, one])
    assert found == {"levels": 6, "of": 24, "share_never_visible": pytest.approx(2 / 3)}
    assert replay_lobster.by_level([one]).tolist() == pytest.approx([5 / 6, 4 / 6])


def test_what_did_not_go_the_plain_way_is_printed(tmp_path, monkeypatch, capsys):
    """Two levels of an archive of both files, in a folder of the user's, below two seed rows that cross."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DAYS", "data")
    unknown = ("34206.0,3,99,70,99500,1", BY_HAND[-1][1])
    rows = [("34199.0,7,0,0,-1,-1", CROSSED), ("34199.5,7,0,0,0,-1", CROSSED), *BY_HAND, unknown, unknown]
    (tmp_path / "data").mkdir()
    with zipfile.ZipFile(tmp_path / "data" / "day.zip", "w") as archive:
        for name, lines in zip(("message", "orderbook"), zip(*rows, strict=True), strict=True):
            archive.writestr(f"{name}_2.csv", "\n".join(lines))
    files = ["--messages=~/$DAYS/day.zip", "--orderbook=${HOME}/data/day.zip"]
    assert invoke(*files, "--output=~/report", "--capacity=16") == 0
    printed = capsys.readouterr().out
    assert re.match(r".*\nreading the recording\nreplaying \d+ rows\n", printed), "what a minute is spent on"
    assert re.search(r"^crossed rows +2 +rows that were to seed a book", printed, re.MULTILINE)
    assert re.search(r"^unknown cancel +2 +cancellations of orders that were not in", printed, re.MULTILINE)
    assert not re.search(r"^(invalid|duplicate|refused|evicted|submissions)", printed, re.MULTILINE)
    report = json.loads((tmp_path / "report" / "agreement.json").read_text())
    assert report["settings"]["levels"] == 2  # all that there are
    (window,) = report["windows"]
    assert (window["seed_row"], window["crossed_rows"], window["submissions_traded"]) == (2, 2, 0)
    assert {name: n for name, n in window["counters"].items() if n} == {"unknown_cancel": 2}
    assert set(window["counters"]) | {"crossed_rows", "submissions_traded", "taken_in", "taken_out"} == set(
        replay_lobster._MEANINGS
    )


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("a/b", "a/b"),
        ("~", "/home/me"),
        ("~/b", "/home/me/b"),
        ("$WHERE/b", "/data/b"),
        ("${WHERE}b", "/datab"),
        ("$TILDE/b", "/home/me/x/b"),
        ("a/~/b", "a/~/b"),
        ("./~a", "~a"),
    ],
)
def test_a_path_means_what_a_shell_makes_of_it(value, path, monkeypatch):
    for name, meant in {"HOME": "/home/me", "WHERE": "/data", "TILDE": "~/x"}.items():
        monkeypatch.setenv(name, meant)
    assert cli.user_path("--output", value) == Path(path)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("", "--output=: is empty, must be a path"),
        (" ", "--output= : is empty"),
        ("$NOTHING", r"--output=\$NOTHING: is empty"),
        ("$ABSENT/b", r"--output=\$ABSENT/b: holds a variable that is not set"),
        ("a/${ABSENT}", r"--output=a/\$\{ABSENT\}: holds a variable that is not set"),
        ("a\0b", "must be names of at most 255 bytes"),
        ("ж" * 128, "must be names of at most 255 bytes"),
        ("a/" * 3000, "must be names of at most 255 bytes"),
        ("5$", "holds a variable that is not set"),
        ("~nobody-here/b", "--output=~nobody-here/b: begins with the home of nobody known here"),
    ],
)
def test_a_path_that_no_shell_made_something_of_is_refused(value, says, monkeypatch):
    monkeypatch.setenv("NOTHING", "")
    monkeypatch.delenv("ABSENT", raising=False)
    with pytest.raises(BadInput, match=says):
        cli.user_path("--output", value)


def test_the_command_writes_a_report_and_a_figure(tmp_path, capsys):
    folder = tmp_path / "deep" / "report"
    assert invoke(MESSAGES, ORDERBOOK, f"--output={folder}", "--levels=5", "--seeds=3", "--take_in") == 0
    report = json.loads((folder / "agreement.json").read_text())
    assert report["rows"] == 600
    assert [window["seed_row"] for window in report["windows"]] == [0, 200, 400]
    assert [window["rows"] for window in report["windows"]] == [199] * 3
    assert sum(report["curve"]["rows"]) == 3 * 199
    assert len(report["windows"][0]["agreeing_by_level"]) == 5
    alone, told = (report["agreeing_by_level"][name] for name in ("alone", "taken in"))
    assert alone == told == [1.0] * 5, "nothing behind ten levels moves up to the fifth"
    assert report["disagreement"] == {"levels": 0, "of": 3 * 199 * 10, "share_never_visible": None}
    assert sum(window["taken_in"] for window in report["taken_in"]["windows"]) == 6
    assert not any(window["taken_in"] for window in report["windows"])
    assert (folder / "agreement.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert re.match(
        rf"amarl_jax [\d.]+ \| 8 x cpu \| matmul float32 \| compilation cache .+ \| output {folder}\n", printed
    )
    assert "share agreeing soon after seeding" in printed
    before = (folder / "agreement.json").read_bytes()
    assert invoke(MESSAGES, ORDERBOOK, f"--output={folder}") == 2
    assert "already holds a report" in capsys.readouterr().err
    assert (folder / "agreement.json").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([MESSAGES, ORDERBOOK], "--output is required"),
        ([MESSAGES, "--output=OUT"], "--orderbook is required"),
        (["--messages=absent.csv", ORDERBOOK, "--output=OUT"], "absent.csv: no such file"),
        ([MESSAGES, ORDERBOOK, "--output=OUT", "--levels=11"], "the order-book file has 10"),
        ([MESSAGES, ORDERBOOK, "--output=OUT", "--levels=0"], "levels"),
        ([MESSAGES, ORDERBOOK, "--output=OUT", "--tick=300"], "is not a multiple of the tick 300"),
        ([MESSAGES, ORDERBOOK, "--output=OUT", "--capacity=3"], "exceed the capacity 3"),
        ([MESSAGES, ORDERBOOK, "--output=OUT", "--seeds=400"], "too few for so many windows"),
        ([ORDERBOOK.replace("orderbook=", "messages="), ORDERBOOK, "--output=OUT"], "line 1: 40 columns instead of 6"),
        ([MESSAGES, ORDERBOOK, "--output=OUT", f"--tick={2**63 - 1}"], "flag --tick=9223372036854775807"),
        ([MESSAGES, ORDERBOOK, "--output=OUT", "--tick=10000000"], "is not a multiple of the tick 10000000"),
        ([MESSAGES, ORDERBOOK, "--output=OUT", f"--capacity={2**31}"], "flag --capacity=2147483648"),
        ([MESSAGES, ORDERBOOK, "--output=OUT", f"--seeds={10**30}"], "too few for so many windows"),
        ([MESSAGES, ORDERBOOK, "--output=OUT", f"--levels={10**30}"], "the order-book file has 10"),
        ([MESSAGES, ORDERBOOK, "--output="], "--output=: is empty"),
        ([MESSAGES, ORDERBOOK, "--output=OUT/$AMARL_ABSENT"], "holds a variable that is not set"),
        ([MESSAGES, ORDERBOOK, f"--output=OUT/{'x' * 300}"], "must be names of at most 255 bytes"),
        ([MESSAGES, ORDERBOOK, f"--output={FIXTURE / f'{STEM}_message_10.csv'}/x"], "_message_10.csv is not a folder"),
        (["--messages=", ORDERBOOK, "--output=OUT"], "--messages=: is empty"),
        ([MESSAGES, "--orderbook=~nobody-here/b", "--output=OUT"], "--orderbook=~nobody-here/b: begins with the home"),
        ([f"--messages={'x' * 300}", ORDERBOOK, "--output=OUT"], "must be names of at most 255"),
        (["--messages=.", ORDERBOOK, "--output=OUT"], "--messages .: is not a regular file"),
        ([f"--messages={os.devnull}", ORDERBOOK, "--output=OUT"], "is not a regular file"),
        ([MESSAGES, ORDERBOOK, "--output=OUT", "--wat=1"], "wat"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(arguments, says, tmp_path, capsys):
    arguments = [argument.replace("OUT", str(tmp_path / "out")) for argument in arguments]
    assert invoke(*arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert says in error
    assert list(tmp_path.iterdir()) == []
