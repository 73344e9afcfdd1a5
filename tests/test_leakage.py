"""The leakage of a CSV file: what is read of it, what is refused, and a flow whose information is known."""

import csv
import functools
import gzip
import json
from types import SimpleNamespace

import numpy as np
import pytest

from amarl_jax import leakage
from amarl_jax.errors import BadInput
from amarl_jax.information.divergence import Interval
from amarl_jax.information.significance import Verdict
from amarl_jax.theory.gaussian_channel import Channel, information

HEADER = "day,z,lots,gap\n"
SMALL = HEADER + "a,1,2,0.5\nb,0,-1,1\na,1,-4,2\n"


def read(folder, text, *columns, pack=None):
    path = folder / ("flow.csv" if pack is None else "flow.csv.gz")
    path.write_bytes(text.encode() if pack is None else pack(text.encode()))
    return leakage.read_flow(path, "z", "day", columns)


@pytest.mark.parametrize("pack", [None, gzip.compress])
def test_an_episode_is_what_its_rows_add_up_to(pack, tmp_path):
    flow = read(tmp_path, SMALL, "lots", pack=pack)
    assert flow.names == ("rows", "sum of lots", "size of lots", "least lots", "largest lots")
    np.testing.assert_array_equal(flow.label, [1, 0])
    np.testing.assert_array_equal(flow.features, [[2, -2, 6, -4, 2], [1, -1, 1, -1, -1]])
    assert flow.n_rows == 3


def test_all_columns_are_read_where_none_is_named_and_what_never_varies_is_left_out(tmp_path):
    flow = read(tmp_path, HEADER + "a,1,2,7\nb,0,1,7\n")
    assert flow.names == ("sum of lots",), "one row each, whose gap is the same; sum, size and limits are one number"


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    assert read(tmp_path, "\ufeff" + SMALL).label.tolist() == [1, 0]


@pytest.mark.parametrize("pack", [None, gzip.compress])
def test_letters_beyond_ascii_are_read_letter_by_letter(pack, tmp_path):
    text = "día,z,größe\nmié,1,2\nmiè,0,1\nmié,1,3\n"
    path = tmp_path / "flow.csv"
    path.write_bytes(text.encode() if pack is None else pack(text.encode()))
    flow = leakage.read_flow(path, "z", "día", ["größe"])
    assert flow.label.tolist() == [1, 0], "two days, whose names differ in one letter"
    assert "sum of größe" in flow.names
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(BadInput, match="is not text in UTF-8"):
        leakage.read_flow(path, "z", "día")


def test_an_output_that_cannot_be_written_is_found_before_the_work(tmp_path, monkeypatch, capsys):
    (tmp_path / "flow.csv").write_text(SMALL)
    monkeypatch.setattr(leakage, "read_flow", lambda *_: pytest.fail("has begun"))
    for place in (tmp_path, tmp_path / "flow.csv" / "found.json"):
        given = [f"--csv={tmp_path / 'flow.csv'}", "--label=z", "--episode=day", f"--output={place}"]
        assert leakage.command(["leakage", *given]) == 2
        assert "a folder" in capsys.readouterr().err


def test_a_damaged_or_absent_file_is_one_line(tmp_path):
    with pytest.raises(BadInput, match=r"flow\.csv\.gz: "):
        read(tmp_path, SMALL * 200, pack=lambda text: gzip.compress(text)[:-20])
    with pytest.raises(BadInput, match=r"absent\.csv: is not a file"):
        leakage.read_flow(tmp_path / "absent.csv", "z", "day")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("day,lots\na,1\n", "--label=z: is no column of .*, which has day, lots"),
        (HEADER, "holds no rows"),
        ("day,z\na,1\n", "has no column beside z and day"),
        (HEADER + "a,1,2,3\na,0,2,3\n", "line 3: day a has both labels"),
        (HEADER + "a,2,2,3\n", "line 2: z is '2', must be 0 or 1"),
        (HEADER + "a,1,many,3\n", "line 2: lots is 'many', must be a number"),
        (HEADER + "a,1,nan,3\n", "line 2: lots is 'nan'"),
        (HEADER + "a,1,2\n", "line 2: gap is None"),
        (HEADER + "a,1,2,3\nb,0,2,3\n", "every episode looks alike"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(text, says, tmp_path):
    with pytest.raises(BadInput, match=says):
        read(tmp_path, text)


def test_few_episodes_are_refused(tmp_path):
    with pytest.raises(BadInput, match="2 episodes: must be at least 40"):
        leakage.measure(read(tmp_path, SMALL))


def test_a_flag_that_is_missing_is_named(capsys):
    assert leakage.command(["leakage", "--csv=x.csv"]) == 2
    assert "--label is required" in capsys.readouterr().err


def test_an_order_in_normal_noise_leaks_what_the_channel_says(tmp_path, capsys, monkeypatch):
    """Twelve lots worked evenly in four minutes of noise of 3 lots: leverage 2.

    The estimate is real, though short; the detectors behind divergence and verdict have tests of their own.
    """
    interval = Interval(1.5, 1.0, 2.0)
    apart = SimpleNamespace(kl_nats=interval, total_variation=interval)
    monkeypatch.setattr(leakage, "estimate", functools.partial(leakage.estimate, n_steps=60, n_folds=2, hidden=(8,)))
    monkeypatch.setattr(leakage, "trajectory_divergence", lambda *_, **__: apart)
    monkeypatch.setattr(leakage, "compare", lambda *_, **__: Verdict(0.01, 0.4, 0.5, 0.02, 0.019, 0.001))
    rng = np.random.default_rng(0)
    n_days, n_minutes, noise, order = 600, 4, 3.0, 12.0
    z = np.arange(n_days) % 2
    flow = rng.normal(0.0, noise, (n_days, n_minutes)) + (order / n_minutes) * z[:, None]
    with (tmp_path / "flow.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("day", "z", "lots"))
        writer.writerows((f"day {day}", z[day], f"{x:.4f}") for day in range(n_days) for x in flow[day])
    output = tmp_path / "new" / "found.json"
    arguments = [f"--csv={tmp_path / 'flow.csv'}", "--label=z", "--episode=day", f"--output={output}"]
    assert leakage.command(["leakage", *arguments]) == 0
    found = json.loads(output.read_text())
    exact = float(information(order / (noise * np.sqrt(n_minutes)), Channel()))
    value, error = (found["information_nats"][part] for part in ("value", "stderr"))
    assert exact / 2 < value < exact + 4 * error, "a lower bound of what the channel gives away"
    assert found["verdict"].startswith("distinguished")
    assert (found["n_episodes"], found["n_labelled_1"]) == (600, 300)
    assert f"{value:.3f} +- " in capsys.readouterr().out
