"""Files of one day at different numbers of levels: the fixture's, cut as LOBSTER cuts."""

import numpy as np
import pytest

from amarl_jax.lob.recording import read_recording
from tests.lob.test_lobster import FIXTURE, STEM

COLUMNS = ("time", "event", "order_id", "size", "price", "direction", "levels")
DAY = [(FIXTURE / f"{STEM}_{kind}_10.csv").read_text().splitlines() for kind in ("message", "orderbook")]
DAY_ROWS = slice(0, 600)


def cut(n_levels):
    """The lines of both files at fewer levels: what changes none of them is left out, but what is hidden stays."""
    messages, books = (lines[DAY_ROWS] for lines in DAY)
    short = [",".join(line.split(",")[: 4 * n_levels]) for line in books]
    hidden = [line.split(",")[1] in "567" for line in messages]
    kept = [i for i in range(len(short)) if i == 0 or hidden[i] or short[i] != short[i - 1]]
    return [messages[i] for i in kept], [short[i] for i in kept]


@pytest.fixture
def write(tmp_path):
    def write(messages, books):
        paths = tmp_path / "d_message_1.csv", tmp_path / "d_orderbook_2.csv"
        for path, lines in zip(paths, (messages, books), strict=True):
            path.write_text("\n".join(lines) + "\n")
        return paths

    return write


@pytest.mark.parametrize(("shallow", "deep"), [(1, 2), (3, 10), (2, 5)])
def test_either_file_may_be_the_deeper_one(shallow, deep, write):
    expected = read_recording(*write(*cut(shallow)))
    assert len(expected) < len(cut(deep)[0])
    for messages, books in ((cut(shallow)[0], cut(deep)[1]), (cut(deep)[0], cut(shallow)[1])):
        recording = read_recording(*write(messages, books))
        for name in COLUMNS:
            np.testing.assert_array_equal(getattr(recording, name), getattr(expected, name))
        last = len(recording) - 1
        for where, lines in ((recording.message_line(last), messages), (recording.orderbook_line(last), books)):
            line = lines[int(where.rpartition(" ")[2]) - 1].split(",")
            assert str(recording.price[last]) in line or str(recording.levels[last, 1, 0, 0]) == line[0]


def test_files_of_two_days_are_still_refused(write):
    messages, books = cut(2)[0][:-1], cut(10)[1][:200]
    with pytest.raises(ValueError, match=r"by their names they are of 1 and 2 levels, and no day explains both$"):
        read_recording(*write(messages, books))
