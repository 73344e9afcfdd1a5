"""Stopping when asked to: a signal sets a flag, the host loop looks at it between compiled chunks."""

import signal
import threading
from types import FrameType, TracebackType


class StopRequest:
    """Context in which SIGTERM and the first Ctrl-C set ``requested`` instead of killing the process."""

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, signal.Handlers | signal._HANDLER] = {}

    def __enter__(self) -> "StopRequest":
        """Install the handlers; outside the main thread, where Python allows none, do nothing."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the previous handlers back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
