"""Read rows of a numeric CSV file: plain, gzip or zip, with what editors and vendors add.

A byte-order mark, a header, blank lines at the end, and commas and blanks at the end of a line are skipped; any line
ending is accepted. What cannot be read raises a one-line ValueError with file, line and reason.
"""

import gzip
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, TextIO, cast

MAX_LINE = 1 << 16  # characters; a row of 200 levels has 9,000
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NOT_READ = {  # first bytes of formats that are not read
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    b"BZh": "packed with bzip2",
    b"\xfd7zXZ": "packed with xz",
    b"\x28\xb5\x2f\xfd": "packed with zstd",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}
DAMAGED = (  # exceptions of gzip and zipfile for damaged files
    EOFError,
    LookupError,
    NotImplementedError,  # unknown compression method
    OverflowError,
    RuntimeError,  # password-protected
    gzip.BadGzipFile,
    lzma.LZMAError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


@contextmanager
def open_text(path: Path, word: str, names: bool = False) -> Iterator[tuple[Path, TextIO]]:
    """Open a file as decompressed text, with its name: ``archive/name`` inside an archive.

    In an archive of several CSV files the one with ``word`` in its name is read. With ``names`` the text is decoded as
    UTF-8, and reading raises UnicodeDecodeError where it is not; otherwise every byte beyond ASCII becomes the
    replacement character. Raises ValueError for a known other format, and for an archive without exactly one such
    file.
    """
    with path.open("rb") as raw:
        head = raw.read(8)
        raw.seek(0)
        found = next((what for magic, what in _NOT_READ.items() if head.startswith(magic)), None)
        if found:
            raise ValueError(f"{path}: is {found}, which is not read; unpack it to plain CSV text")
        if head.startswith(b"\x1f\x8b"):
            yield path, _as_text(cast(IO[bytes], gzip.GzipFile(fileobj=raw)), names)
        elif head.startswith(b"PK"):
            archive, name = _open_member(path, raw, word)
            with archive:
                yield Path(f"{path}/{name}"), _as_text(archive.open(name), names)
        else:
            yield path, _as_text(raw, names)


def rows(path: Path, text: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Line number, from 1, and cells of each row; a header is skipped."""
    return ((number, cells) for number, cells in lines_of_cells(path, text) if number > 1 or not _is_header(cells))


def lines_of_cells(path: Path, text: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Line number, from 1, and cells of each line that is not empty, a header included."""
    empty = 0
    for number, line in _lines(path, text):
        line = line.rstrip(", \t\r\n")
        if not line:
            empty = empty or number
            continue
        if empty:
            raise ValueError(f"{path}, line {empty}: is empty, with rows behind it")
        if "\0" in line:
            raise ValueError(f"{path}, line {number}: is not text")
        yield number, line.split(",")


def _lines(path: Path, text: TextIO) -> Iterator[tuple[int, str]]:
    number = 0
    while True:
        number += 1
        try:
            start = text.buffer.peek(3)[:3] if number == 1 else b""  # type: ignore[attr-defined]
            if start == _BYTE_ORDER_MARK:
                text.buffer.read(3)
            line = text.readline(MAX_LINE)
        except DAMAGED as error:
            raise ValueError(f"{path}, line {number}: the file is damaged ({error or type(error).__name__})") from None
        if not line:
            return
        if len(line) == MAX_LINE:
            raise ValueError(f"{path}, line {number}: is longer than {MAX_LINE} characters")
        yield number, line


def _as_text(binary: IO[bytes], names: bool) -> TextIO:
    if names:
        return io.TextIOWrapper(binary, encoding="utf-8-sig", newline="")
    return io.TextIOWrapper(binary, encoding="ascii", errors="replace")


def _open_member(path: Path, raw: IO[bytes], word: str) -> tuple[zipfile.ZipFile, str]:
    """The archive and the name of the one file to read."""
    try:
        archive = zipfile.ZipFile(raw)
        names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
        tables = [name for name in names if name.lower().endswith((".csv", ".txt"))]
        named = [name for name in tables if word in PurePosixPath(name).name.lower()]
        for chosen in (names, tables, named):
            if len(chosen) == 1:
                archive.open(chosen[0]).close()
                return archive, chosen[0]
    except (*DAMAGED, OSError, ValueError) as error:
        raise ValueError(f"{path}: is a damaged zip archive, or has a password ({error})") from None
    raise ValueError(
        f"{path}: holds {len(named)} CSV files with {word!r} in their name instead of one; unpack the one that is meant"
    )


def _is_header(cells: list[str]) -> bool:
    """True if the cells are names, or numbers from 0 as a data frame writes them."""
    return len(cells) >= 4 and (not any(map(_is_number, cells)) or cells == [str(i) for i in range(len(cells))])


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
