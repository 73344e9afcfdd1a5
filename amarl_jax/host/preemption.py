"""Stopping on request, from the start of a command to its end.

A signal that schedulers, terminals and people send (TERM, INT, HUP, USR1, USR2) raises
:class:`amarl_jax.errors.Preempted` in the main thread, wherever it is. While there is something to save the request is
held back: the host loop checks it between compiled chunks. Signals that a parent ignores, as ``nohup`` does HUP, stay
ignored.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import NoReturn

from amarl_jax.errors import Preempted

STOPPED = 75  # exit code
GRACE = 10.0  # seconds in which compiled code must return when nothing is held
AT_ONCE = "stopped at once: what was not saved is lost, --resume continues from the last checkpoint"
_NAMES = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2")
_SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
_DONE = 0  # not a signal's number: ends the watcher
_SHOW_CURSOR = "\x1b[?25h"

_current: "StopRequest | None" = None  # of this process


class StopRequest:
    """Context in which a signal asks to stop instead of killing the process; a nested one returns the outer one.

    Attributes:
        requested: name of the first signal that came, None if none did.
        note: text behind "stopped by SIGTERM" in the message; the working code keeps it up to date.
    """

    def __init__(self, whole_process: bool = False) -> None:
        """``whole_process``: the process is this command's alone, and may be ended if compiled code does not return."""
        self.requested: str | None = None
        self.note = "before it was done; the same command starts again"
        self._held = False
        self._whole_process = whole_process
        self._previous: dict[int, signal.Handlers | signal._HANDLER] = {}
        self._watcher: _Watcher | None = None

    def hold(self) -> None:
        """Hold requests back, as there is something to save: a signal only sets ``requested``."""
        if not self._held and self.requested:  # raised before, but caught and dropped somewhere
            raise Preempted(self.text())
        self._held = True

    def release(self) -> None:
        """Stop holding requests back, and raise one that came meanwhile."""
        self._held = False
        if self.requested:
            raise Preempted(self.text())

    def drop_hold(self) -> None:
        """Stop holding requests back without raising one, where another exception is under way."""
        self._held = False

    def text(self) -> str:
        """The message of a command that a signal ends now."""
        return f"stopped by {self.requested}: {self.note}"

    def __enter__(self) -> "StopRequest":
        """Install the handlers; outside the main thread, where Python allows none, do nothing."""
        global _current
        if _current is not None:
            return _current
        if threading.current_thread() is not threading.main_thread():
            return self
        _current = self
        for number in _SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._on_signal)
        if self._whole_process:
            self._watcher = _Watcher(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the previous handlers back."""
        global _current
        if _current is not self:
            return
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if self._watcher is not None:
            self._watcher.end()
        _current = None

    @property
    def may_end_anywhere(self) -> bool:
        """True if nothing is held."""
        return not self._held

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            if number == signal.SIGINT and not self._whole_process:
                raise KeyboardInterrupt
            return  # the watcher of a command has seen it
        self.requested = signal.Signals(number).name
        if not self._held:
            raise Preempted(self.text())


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Context that delays requests to its end, for a library that would treat a raised one as its own error."""
    stop = _current
    if stop is None or not stop.may_end_anywhere:
        yield
        return
    stop.hold()
    try:
        yield
    except BaseException:
        stop.drop_hold()
        raise
    stop.release()


class _Watcher:
    """A thread that receives signals while the main thread is in compiled code, where Python handles none.

    It ends the process at a second Ctrl-C, and where nothing is held and the first signal has not been answered in
    :data:`GRACE` seconds.
    """

    def __init__(self, stop: StopRequest) -> None:
        self._stop = stop
        self._hook, sys.unraisablehook = sys.unraisablehook, self._on_unraisable
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._previous = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="signals", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop listening."""
        sys.unraisablehook = self._hook
        self._over.set()
        signal.set_wakeup_fd(self._previous)
        os.write(self._writer, bytes([_DONE]))
        self._thread.join()
        os.close(self._reader)
        os.close(self._writer)

    def _on_unraisable(self, caught: "sys.UnraisableHookArgs") -> None:
        """Say nothing of a request that was raised where Python drops exceptions: the thread answers it."""
        if not isinstance(caught.exc_value, Preempted):
            self._hook(caught)

    def _listen(self) -> None:
        heard = 0
        while (number := os.read(self._reader, 1)[0]) != _DONE:
            if number not in _SIGNALS:
                continue
            heard += 1
            if heard > 1 and number == signal.SIGINT:
                _end_at_once(AT_ONCE)
            if heard == 1:
                threading.Thread(target=self._wait, args=(number,), name="grace", daemon=True).start()

    def _wait(self, number: int) -> None:
        if not self._over.wait(GRACE) and self._stop.may_end_anywhere:
            self._stop.requested = self._stop.requested or signal.Signals(number).name
            _end_at_once(self._stop.text())


def end_process(code: int = STOPPED) -> NoReturn:
    """End a process that was stopped, or still compiles needlessly, without finalising its interpreter.

    After an exception in a trace or a lowering, JAX's library holds objects that it cannot delete, and would crash.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(code)


def _end_at_once(line: str) -> None:
    """Say why, give the terminal its cursor back, and end the process without unwinding it."""
    cursor = _SHOW_CURSOR if sys.stderr is not None and sys.stderr.isatty() else ""
    with contextlib.suppress(OSError):  # there may be no reader
        os.write(2, f"{cursor}\r{line}\n".encode() if cursor else f"{line}\n".encode())
    os._exit(STOPPED)
