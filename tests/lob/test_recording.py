import gzip
import zipfile

import numpy as np
import pytest

from amarl_jax.lob.csv_rows import MAX_LINE
from amarl_jax.lob.recording import read_recording

MESSAGES = ["34200.25,1,11,100,100000,1", "34200.5,5,0,40,99950,1", "34201.0,7,0,0,-1,-1"]
ORDERBOOK = ["100200,50,100000,100", "100200,50,100000,100", "9999999999,0,100000,100"]
NAMES = "AAPL_2012-06-21_34200000_57600000_message_1.csv", "AAPL_2012-06-21_34200000_57600000_orderbook_1.csv"


def text_of(lines):
    return ("\n".join(lines) + "\n").encode()


def write(folder, messages=text_of(MESSAGES), orderbook=text_of(ORDERBOOK)):
    """Both files, from bytes."""
    paths = [folder / name for name in NAMES]
    for path, content in zip(paths, (messages, orderbook), strict=True):
        path.write_bytes(content)
    return paths


def zipped(path, contents, **options):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def fields(recording):
    names = ("time", "event", "order_id", "size", "price", "direction", "levels")
    return {name: getattr(recording, name).tolist() for name in names}


EXPECTED = {
    "time": [34200.25, 34200.5, 34201.0],
    "event": [1, 5, 7],
    "order_id": [11, 0, 0],
    "size": [100, 40, 0],
    "price": [100_000, 99_950, -1],
    "direction": [1, 1, -1],
    "levels": [[[[100_000, 100]], [[100_200, 50]]]] * 2 + [[[[100_000, 100]], [[0, 0]]]],
}
HEADERS = "Time,Type,Order ID,Size,Price,Direction", "ask_price_1,ask_size_1,bid_price_1,bid_size_1"
FORMS = {
    "as it comes": text_of,
    "no line end at the end": lambda lines: text_of(lines)[:-1],
    "byte-order mark": lambda lines: b"\xef\xbb\xbf" + text_of(lines),
    "byte-order mark and header": lambda lines: b"\xef\xbb\xbf" + text_of([header_of(lines), *lines]),
    "CRLF": lambda lines: text_of(lines).replace(b"\n", b"\r\n"),
    "CR": lambda lines: text_of(lines).replace(b"\n", b"\r"),
    "blank last lines": lambda lines: text_of(lines) + b"\r\n \n,,,\n\n",
    "trailing commas": lambda lines: text_of(lines).replace(b"\n", b",\n"),
    "blanks": lambda lines: text_of(lines).replace(b",", b", ").replace(b"\n", b" \t\n"),
    "header": lambda lines: text_of([header_of(lines), *lines]),
    "header with quotes and a comma": lambda lines: text_of([f'"{header_of(lines)}",', *lines]).replace(
        b"e_1,", b"e_1 ,"
    ),
    "header of a data frame": lambda lines: text_of([",".join(map(str, range(lines[0].count(",") + 1))), *lines]),
    "gzip": lambda lines: gzip.compress(text_of(lines), mtime=0),
    "gzip in two parts, with everything": lambda lines: (
        gzip.compress(b"\xef\xbb\xbf" + header_of(lines).encode() + b"\r\n")
        + gzip.compress(text_of(lines).replace(b"\n", b",\r\n") + b"\r\n")
    ),
}


def header_of(lines):
    return HEADERS[lines is ORDERBOOK]


@pytest.mark.parametrize("form", FORMS)
def test_files_as_they_come(form, tmp_path):
    recording = read_recording(*write(tmp_path, FORMS[form](MESSAGES), FORMS[form](ORDERBOOK)))
    assert fields(recording) == EXPECTED
    line = 2 if "header" in form or "everything" in form else 1
    assert recording.message_line(0) == f"{tmp_path / NAMES[0]}, line {line}"
    assert recording.orderbook_line(1) == f"{tmp_path / NAMES[1]}, line {line + 1}"


def test_archives_as_they_come(tmp_path):
    both = {
        "LOBSTER_SampleFiles_ReadMe.txt": b"Read me.",
        "day/": b"",
        f"day/{NAMES[0]}": text_of(MESSAGES),
        f"day/{NAMES[1]}": text_of(ORDERBOOK),
        f"__MACOSX/day/._{NAMES[0]}": b"\0",
    }
    archive = zipped(tmp_path / "day.zip", both)
    recording = read_recording(archive, archive)
    assert fields(recording) == EXPECTED
    assert recording.message_line(0) == f"{archive}/day/{NAMES[0]}, line 1"
    alone = zipped(tmp_path / "m.zip", {"whatever.bin": text_of(MESSAGES)})
    beside = zipped(tmp_path / "b.zip", {"b.csv": text_of(ORDERBOOK), "ReadMe.pdf": b""})
    assert fields(read_recording(alone, beside)) == EXPECTED


NOTHING = ["9999999999,0,-9999999999,0", "-9999999999,0,9999999999,0", "0,0,0,0"]


@pytest.mark.parametrize("behind", NOTHING)
@pytest.mark.parametrize("first", ["100200,50,100000,100", *NOTHING])
def test_levels_that_are_empty(first, behind, tmp_path):
    recording = read_recording(*write(tmp_path, text_of(MESSAGES[:1]), text_of([f"{first},{behind}"])))
    full = first not in NOTHING
    expected = [[[100_000, 100], [0, 0]], [[100_200, 50], [0, 0]]] if full else [[[0, 0], [0, 0]]] * 2
    assert recording.levels.tolist() == [expected]


SINCE_MIDNIGHT = "and seconds after midnight are read"


@pytest.mark.parametrize(
    ("time", "says"),
    [
        ("86400.5", "is more than the 86400 seconds of a day; it looks like milliseconds"),
        ("34200250", f"it looks like milliseconds, {SINCE_MIDNIGHT}"),
        ("34200250017", f"it looks like microseconds, {SINCE_MIDNIGHT}"),
        ("34200250017459", f"it looks like nanoseconds, {SINCE_MIDNIGHT}"),
        ("1340285400.25", f"it looks like seconds since 1970, {SINCE_MIDNIGHT}"),
        ("1340285400250", f"it looks like milliseconds since 1970, {SINCE_MIDNIGHT}"),
        ("1340285400250017", f"it looks like microseconds since 1970, {SINCE_MIDNIGHT}"),
        ("1340285400250017459", f"it looks like nanoseconds since 1970, {SINCE_MIDNIGHT}"),
        ("1e300", "is more than the 86400 seconds of a day$"),
        ("-1", "is negative"),
        ("34_200", "is not a number"),
    ],
)
def test_times_in_other_units_are_refused(time, says, tmp_path):
    lines = [time + MESSAGES[0][8:], *MESSAGES[1:]]
    with pytest.raises(ValueError, match=rf"message_1.csv, line 1: time '?{time}'? .*{says}"):
        read_recording(*write(tmp_path, text_of(lines)))


def test_a_day_has_its_last_second(tmp_path):
    lines = [*MESSAGES[:2], MESSAGES[2].replace("34201.0", "86400")]
    assert read_recording(*write(tmp_path, text_of(lines))).time[-1] == 86_400


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (text_of([HEADERS[0], MESSAGES[0], "34200.5,5,0,4_0,99950,1"]), "line 3: size '4_0' is not an integer"),
        (text_of(["7" * 9000 + MESSAGES[0]]), "line 1: time inf|line 1: time '7{12}[.]{3}.* is not a number"),
        (text_of([MESSAGES[0].replace("11", "7" * 9000)]), "line 1: order id '7{12}[.]{3}7{13}' is not an integer$"),
        (text_of([MESSAGES[0], "", MESSAGES[1]]), "line 2: is empty, with rows behind it"),
        (text_of([HEADERS[0], HEADERS[0], *MESSAGES]), "line 2: time 'Time' is not a number"),
        (text_of([HEADERS[0]]), ": holds no rows"),
        (text_of([MESSAGES[0], "34200.5,1,12,40,9999999999,1"]), "line 2: price 9999999999 stands for none"),
        (text_of([MESSAGES[0].replace(",", ";")]), "line 1: 1 columns instead of 6"),
        (text_of(MESSAGES) + b"\0" * 4, "line 4: is not text"),
        (text_of([MESSAGES[0], "7" * MAX_LINE]), f"line 2: is longer than {MAX_LINE} characters"),
        ("34200.25,\N{FULLWIDTH DIGIT ONE},11,100,100000,1".encode(), "line 1: type .* is not an integer"),
        ("\ufeff34200.25,1".encode("utf-16-le"), ": is UTF-16 text, which is not read"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(30), ": is a 7-Zip archive, which is not read; unpack it"),
        (b"BZh91AY&SY" + bytes(30), ": is packed with bzip2, which is not read"),
        (gzip.compress(text_of(MESSAGES), mtime=0)[:-9], "line .: the file is damaged"),
        (gzip.compress(text_of(MESSAGES), mtime=0)[:12] + bytes(30), "line 1: the file is damaged"),
        (gzip.compress(bytes(600), mtime=0), "line 1: is not text"),
        (b"PK\3\4" + bytes(40), ": is a damaged zip archive"),
        (b"", ": holds no rows"),
        (b"\xef\xbb\xbf", ": holds no rows"),
        (gzip.compress(b"", mtime=0), ": holds no rows"),
    ],
)
def test_what_cannot_be_read_is_one_line_with_the_reason(content, says, tmp_path):
    with pytest.raises(ValueError, match=rf"^{tmp_path}/{NAMES[0]}(, )?{says}") as caught:
        read_recording(*write(tmp_path, content))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("contents", "says"),
    [
        ({"a.csv": b"", "b.csv": b""}, "holds 0 CSV files with 'message' in their name instead of one"),
        ({"message_1.csv": b"", "message_2.csv": b""}, "holds 2 CSV files with 'message' in their name"),
        ({}, "holds 0 CSV files"),
    ],
)
def test_an_archive_must_say_which_file_is_meant(contents, says, tmp_path):
    with pytest.raises(ValueError, match=rf"^{tmp_path}/x.zip: {says}"):
        read_recording(zipped(tmp_path / "x.zip", contents), write(tmp_path)[1])


@pytest.mark.parametrize("form", ["gzip", "zip"])
def test_no_damage_is_a_traceback(form, tmp_path):
    """Any byte changed, any length cut: the same arrays, others that are well formed, or one line."""
    paths, rng = write(tmp_path), np.random.default_rng(0)
    whole = gzip.compress(text_of(MESSAGES), mtime=0)
    if form == "zip":
        whole = zipped(tmp_path / "m.zip", {zipfile.ZipInfo(NAMES[0]): text_of(MESSAGES)}).read_bytes()
    refused = []
    for trial in range(400):
        content = bytearray(whole)
        content[rng.integers(len(whole))] ^= int(rng.integers(1, 256))
        paths[0].write_bytes(bytes(content if trial % 2 else content[: rng.integers(len(whole))]))
        try:
            read_recording(*paths)
        except ValueError as error:
            refused.append(str(error))
    assert len(refused) > 300
    assert {line.startswith(str(tmp_path)) and "\n" not in line for line in refused} == {True}


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (f"{-(2**63)},50,100000,100", "a level has a size but no price"),
        (f"100200,50,{-(2**63)},100", "a level has a size but no price"),
        ("100200,50,-5,100", "a level has a size but no price"),
        (f"100200,{-(2**63)},100000,100", "a number does not fit 64 bits"),
        (f"100200,50,100000,{-(2**63) + 1}", "a size is negative"),
    ],
)
def test_levels_beyond_every_bound_are_refused(row, says, tmp_path):
    with pytest.raises(ValueError, match=rf"{NAMES[1]}, line 2: ({says}|a number does not fit 64 bits)"):
        read_recording(*write(tmp_path, orderbook=text_of([ORDERBOOK[0], row, ORDERBOOK[2]])))


def test_files_of_two_pairs_are_told_by_their_names(tmp_path):
    messages, orderbook = write(tmp_path, orderbook=text_of(ORDERBOOK[:2]))
    with pytest.raises(ValueError, match=r"orderbook_1.csv: 2 rows, but .*message_1.csv has 3$"):
        read_recording(messages, orderbook)
    other = orderbook.rename(tmp_path / NAMES[1].replace("_1.csv", "_5.csv"))
    with pytest.raises(ValueError, match=r"by their names they are of 1 and 5 levels, and no day explains both$"):
        read_recording(messages, other)


def test_a_file_without_rows_is_named(tmp_path):
    for name, content in (("messages", b""), ("orderbook", b"\n")):
        with pytest.raises(ValueError, match=rf"{name[:-1]}.*csv: holds no rows$"):
            read_recording(*write(tmp_path, **{name: content}))
