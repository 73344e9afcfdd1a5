import json
import re

import numpy as np
import pytest

from amarl_jax import cli, replay_lobster
from amarl_jax.lob.lobster import Following
from tests.lob.test_lobster import FIXTURE, STEM
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


def test_the_command_writes_a_report_and_a_figure(tmp_path, capsys):
    folder = tmp_path / "deep" / "report"
    assert invoke(MESSAGES, ORDERBOOK, f"--output={folder}", "--levels=5", "--seeds=3") == 0
    report = json.loads((folder / "agreement.json").read_text())
    assert report["rows"] == 600
    assert [window["seed_row"] for window in report["windows"]] == [0, 200, 400]
    assert [window["rows"] for window in report["windows"]] == [199] * 3
    assert sum(report["curve"]["rows"]) == 3 * 199
    assert len(report["windows"][0]["agreeing_by_level"]) == 5
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
