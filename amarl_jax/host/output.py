"""Standard output that outlives its reader: ``| head -n 1``, a closed terminal or a full disk does not end training."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

_NOBODY_READS = (errno.EPIPE, errno.EIO)  # a pipe, a terminal that was closed


class Lasting:
    """A text stream that discards what is written after a write has failed; everything else is the stream's own.

    Attributes:
        lost: the first error; None as long as all was written.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.lost: OSError | None = None

    def write(self, text: str) -> int:
        """Write, or discard."""
        if self.lost is None:
            try:
                return self._stream.write(text)
            except OSError as error:
                self._drop(error)
        return len(text)

    def flush(self) -> None:
        """Flush, unless a write has failed."""
        if self.lost is None:
            try:
                self._stream.flush()
            except OSError as error:
                self._drop(error)

    def _drop(self, error: OSError) -> None:
        """Discard what the stream still buffers too: Python would fail on it at exit."""
        self.lost = error
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        """Attribute of the stream."""
        return getattr(self._stream, name)


@contextlib.contextmanager
def lasting_output() -> Iterator[list[Lasting]]:
    """Replace standard output and standard error inside the context; yields the replacements."""
    before = sys.stdout, sys.stderr
    lasting = [None if stream is None else Lasting(stream) for stream in before]
    sys.stdout, sys.stderr = lasting
    try:
        yield [stream for stream in lasting if stream is not None]
    finally:
        sys.stdout, sys.stderr = before


def lost(streams: list[Lasting]) -> OSError | None:
    """Flush, and return the error that kept output from being written; None where only its reader has left."""
    for stream in streams:
        stream.flush()
    errors = [stream.lost for stream in streams if stream.lost is not None]
    return next((error for error in errors if error.errno not in _NOBODY_READS), None)
